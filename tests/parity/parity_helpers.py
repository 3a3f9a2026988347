"""What every parity test with transformers shares: tiny random models, and the laws that all mappings keep.

A parity test makes a model of theirs by `tiny`, writes it by `save`, reads it by
`jaxlm.hub.pretrained.load_pretrained`, and asserts `assert_close` of outputs, `assert_round_trip` of the folder, and
`assert_the_same_adamw_step` of a loss.
"""

import json
import os

import jax
import numpy as np
import optax
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from jaxlm import steps
from jaxlm.hub import pretrained
from jaxlm.hub.mapping import to_tensors
from jaxlm.hub.options import Options
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.hub.tensors import Tensors

TOLERANCE = 1e-4
RATE = 1e-2
# The first update moves a weight by RATE * g / (|g| + eps). Rounding changes g by 1e-7 to 5e-6, so with the usual
# eps of 1e-8 the rounding of a gradient that is nearly zero would decide which way its weight goes.
ADAMW = {"b1": 0.9, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1}


def tiny(kind, config, seed):
    """A model of theirs in evaluation mode, every parameter random: scales of norms near 1, all else near 0.2."""
    model = kind(config).eval()
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = 0.2 * torch.randn(parameter.shape, generator=draw)
        parameter.data = noise + 1 if parameter.ndim == 1 and name.endswith("weight") else noise
    return model


def save(model, folder):
    """Write a model of theirs into a folder, and return it."""
    model.save_pretrained(folder)
    return folder


def assert_close(found, expected, where=None):
    """Within 1e-4 of the largest value of theirs; `where` (bool, leading axes) leaves padding out."""
    found, expected = np.asarray(found), expected.detach().numpy() if hasattr(expected, "detach") else expected
    assert found.shape == expected.shape
    if where is not None:
        found, expected = found[np.asarray(where, bool)], expected[np.asarray(where, bool)]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def assert_round_trip(folder, out, buffers=()):
    """Import then export is the identity, leaf by leaf, and transformers loads what was written as the same model.

    `buffers`: names in the folder that hold no weight, and are not written.
    """
    model, leaves = pretrained.load_pretrained(folder)
    out.mkdir()
    pretrained.save_pretrained(out, model, leaves)
    before, after = Tensors(folder), Tensors(out)
    assert set(before) - set(after) == set(buffers)
    assert set(after) <= set(before)
    for name in after:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name, strict=True)
    again = pretrained.load_pretrained(out)
    assert again.model == model
    kind = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    one, other = kind.from_pretrained(folder).state_dict(), kind.from_pretrained(out).state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def assert_the_same_adamw_step(folder, theirs, their_loss, loss, batch):
    """After one AdamW update all parameters agree within 1e-4, a hundredth of what the update moves them by.

    So do the running means of batch norm; `theirs` is updated, and in the mode that it is given in.

    their_loss: (model of theirs) -> scalar tensor, the mean over the batch.  loss: our LossFn of the imported module.
    """
    model, leaves = pretrained.load_pretrained(folder)
    variables = pretrained.tree_from_leaves(leaves)
    params = variables.pop("params")
    tx = optax.adamw(RATE, **ADAMW)
    state = steps.TrainState(
        step=np.int32(0),
        params=params,
        variables=variables,
        opt_state=tx.init(params),
        key=jax.random.key(0),
        skipped=np.int32(0),
    )
    state, metrics = jax.jit(steps.update(steps.grad(loss), tx))(state, batch)
    ours = leaves_by_path({"params": state.params, **state.variables})
    found = to_tensors(pretrained.family_of_config(Options.read(folder)).table(model), ours)

    optimizer = torch.optim.AdamW(
        theirs.parameters(), RATE, (ADAMW["b1"], ADAMW["b2"]), ADAMW["eps"], ADAMW["weight_decay"]
    )
    value = their_loss(theirs)
    value.backward()
    optimizer.step()
    np.testing.assert_allclose(metrics["loss"].compute(), value.item(), rtol=TOLERANCE)
    before, after = Tensors(folder), Tensors(save(theirs, folder.with_name("updated")))  # by the names of files
    found = {name: tensor for name, tensor in found.items() if not name.endswith("running_var")}  # unbiased in torch
    assert max(np.abs(after[name] - before[name]).max() for name in found) > RATE / 2
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, after[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
