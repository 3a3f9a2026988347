"""What the tests of placements share: the placements, a tiny transformer, and batches that are ragged on purpose."""

from functools import cache

import jax
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.losses import next_token
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW

PLACES = {
    "local": parallel.local(),
    "pmap": parallel.pmap(),
    "mesh(4, 1)": parallel.mesh(),
    "mesh(1, 4)": parallel.mesh(fsdp=4),
    "mesh(2, 2)": parallel.mesh(2, 2),
}
OTHERS = [name for name in PLACES if name != "local"]
MESHES = [name for name in PLACES if name.startswith("mesh")]


def each(names):
    """These placements as parameters; a mesh of one axis is slow, since mesh(2, 2) has both axes."""
    return [
        pytest.param(name, marks=pytest.mark.slow if name in ("mesh(4, 1)", "mesh(1, 4)") else ()) for name in names
    ]


# No biases: the gradient of a key's bias is zero but for rounding, which AdamW would blow up to a full update.
OPTIMIZERS = {"sgd": optax.sgd(0.5), "adamw": AdamW(peak_lr=1e-3, weight_decay=0.1)(10)}


def model(dropout=0.0):
    return GPT(vocab=16, depth=1, width=16, heads=2, context=8, bias=False, dropout=dropout)


def text(seed, rows=16):
    """Tokens with masks so ragged that the rows of one whole device, or micro-batch, may count nothing."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, 16, (rows, 9)).astype(np.int32)
    lengths = draw.integers(0, 9, (rows, 1))
    lengths[:4] = 0
    lengths[5::4] = 1
    mask = (np.arange(8)[None] < lengths).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "mask": mask}


def begin(tx, dropout=0.0, **options):
    """From a key to a state."""
    return lambda key: steps.init(model(dropout), tx, text(0)["tokens"][:1], key, **options)


def compose(place, tx, parts=1, dropout=0.0):
    grad = steps.accumulate(steps.grad(next_token(model(dropout))), parts)
    return steps.update(place.reduce(grad), tx)


@cache
def train(name, optimizer="sgd", parts=1, dropout=0.0, updates=5):
    """The parameters after some updates, and the metrics of each, on the host."""
    place, tx = PLACES[name], OPTIMIZERS[optimizer]
    state = place.init(begin(tx, dropout), jax.random.key(0))
    step, history = place.compile(compose(place, tx, parts, dropout)), []
    for seed in range(updates):
        state, metrics = step(state, place.put(text(seed)))
        history.append(steps.compute(metrics))  # waits: at most one step is in flight
    return place.fetch(state.params), history


def bits(x):
    return np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
