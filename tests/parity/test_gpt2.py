"""GPT-2 against transformers."""

import jax
import numpy as np
import pytest

from jaxlm.decode import generate
from jaxlm.hub import pretrained
from jaxlm.losses import next_token
from parity.parity_helpers import (
    assert_close,
    assert_round_trip,
    assert_the_same_adamw_step,
    save,
    tiny,
    torch,
    transformers,
)

pytestmark = pytest.mark.slow

SIZE = {"vocab_size": 23, "n_layer": 2, "n_embd": 16, "n_head": 4, "n_positions": 24}
SIZE |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False, "n_inner": 24},
    "eps": {"layer_norm_epsilon": 1e-2},
}


@pytest.fixture(params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=lambda p: f"{p[0]}-{p[1]}")
def both(request, tmp_path):
    """A model of theirs and the folder that it was written to."""
    name, seed = request.param
    model = tiny(transformers.GPT2LMHeadModel, transformers.GPT2Config(**SIZE | VARIANTS[name]), seed)
    return model, save(model, tmp_path / "theirs")


def tokens(shape=(3, 12)):
    return np.random.default_rng(0).integers(1, SIZE["vocab_size"], shape).astype(np.int32)


def test_logits(both):
    theirs, folder = both
    ours = pretrained.read(folder)
    found = jax.jit(ours.model.apply)(ours.variables, tokens())
    assert_close(found, theirs(torch.from_numpy(tokens()).long()).logits)


def test_round_trip(both, tmp_path):
    assert_round_trip(both[1], tmp_path / "ours")


def test_one_adamw_step(both):
    theirs, folder = both
    batch = {"tokens": tokens()[:, :-1], "targets": tokens()[:, 1:]}
    inputs = torch.from_numpy(tokens()).long()
    loss = next_token(pretrained.read(folder).model)
    assert_the_same_adamw_step(folder, theirs, lambda model: model(inputs, labels=inputs).loss, loss, batch)


def test_greedy_generation(both):
    theirs, folder = both
    ours = pretrained.read(folder)
    prompt = tokens((1, 5))
    found = generate(ours.model, ours.variables, prompt.tolist(), jax.random.key(0), length=15, temperature=0)
    expected = theirs.generate(torch.from_numpy(prompt).long(), max_new_tokens=15, do_sample=False, eos_token_id=None)
    assert found[0] == expected[0, 5:].tolist()
