"""What the tests of steps share: a network as plain functions, ragged batches, and its gradient by hand in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxlm import parallel, steps
from jaxlm.steps import Mean

PLACES = {
    "local": parallel.local(),
    "pmap": parallel.pmap(),
    "mesh(2, 2)": parallel.mesh(2, 2),
    "mesh(4)": parallel.mesh(),
}
everywhere = pytest.mark.parametrize("name", [*list(PLACES)[:-1], pytest.param("mesh(4)", marks=pytest.mark.slow)])

FEATURES = 3


def parameters(seed=0):
    draw = np.random.default_rng(seed)
    return {
        "hidden": jnp.asarray(draw.normal(size=(FEATURES, 4)).astype(np.float32)),
        "out": jnp.asarray(draw.normal(size=(4,)).astype(np.float32)),
    }


def make_batch(seed, mask):
    """Examples drawn by the seed; mask: the weight of each."""
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(len(mask), FEATURES)), draw.normal(size=len(mask))
    return {name: np.asarray(value, np.float32) for name, value in (("x", x), ("y", y), ("mask", mask))}


def loss(params, variables, batch, key, *, train):
    """Weighted squared error of a network with one hidden layer."""
    error = jnp.tanh(batch["x"] @ params["hidden"]) @ params["out"] - batch["y"]
    return {"loss": Mean((error**2 * batch["mask"]).sum(), batch["mask"].sum())}, variables


def noisy_loss(params, variables, batch, key, *, train):
    """The same, with noise on the inputs while training."""
    noise = jax.random.normal(key, batch["x"].shape) if train else 0
    return loss(params, variables, batch | {"x": batch["x"] + noise}, key, train=train)


def numpy_loss_and_gradient(params, batch):
    """The weighted mean of the squared error and its gradient, in float64, differentiated by hand."""
    hidden, out, x, y, mask = (
        np.asarray(a, np.float64) for a in (params["hidden"], params["out"], batch["x"], batch["y"], batch["mask"])
    )
    h = np.tanh(x @ hidden)
    error = h @ out - y
    d_error = 2 * error * mask / mask.sum()
    gradient = {"hidden": x.T @ (d_error[:, None] * out[None] * (1 - h**2)), "out": h.T @ d_error}
    return (error**2 * mask).sum() / mask.sum(), gradient


def numpy_norm(tree):
    return np.sqrt(sum((np.asarray(x, np.float64) ** 2).sum() for x in jax.tree.leaves(tree)))


def start(tx, seed=0, **options):
    return steps.new_state(parameters(seed), tx, jax.random.key(seed), **options)


def plain(x):
    """Any leaf as a NumPy array; a PRNG key as its bits."""
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def assert_same_bits(actual, expected):
    """The same structure, dtypes and bits, NaNs included."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        a, b = plain(a), plain(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
        assert a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)


def assert_close(actual, expected, tolerance=1e-6):
    """Every leaf within a tolerance of its largest entry: the small sums carry the rounding of large terms."""

    def compare(a, b):
        a, b = plain(a), plain(b)
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)

    jax.tree.map(compare, actual, expected)


def types(tree):
    """Shape, dtype and weakness of every leaf: what decides whether a compiled step is compiled again."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), jax.eval_shape(lambda: tree))


def masks(size):
    """Ragged masks: fractions and zeros, at least one example of them counted."""
    weight = st.sampled_from([0.0, 0.0, 0.25, 1.0, 3.0])
    return st.lists(weight, min_size=size, max_size=size).filter(any)
