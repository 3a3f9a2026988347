"""What the tests of optimizers share: a small model's parameters, gradients, and a run of updates."""

from functools import partial

import jax
import numpy as np
import optax


def tree(seed=0):
    """Parameters or gradients of a small model: matrices, a tall one, vectors, in float32."""
    draw = np.random.default_rng(seed)
    shapes = {"embed/embedding": (5, 4), "block/up/kernel": (4, 6), "block/down/kernel": (6, 4), "block/up/bias": (6,)}
    leaves = {path: draw.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    return {"embed": {"embedding": leaves["embed/embedding"]}, "block": _block(leaves)}


def _block(leaves):
    up = {"kernel": leaves["block/up/kernel"], "bias": leaves["block/up/bias"]}
    return {"up": up, "down": {"kernel": leaves["block/down/kernel"]}}


def flat(params):
    """{path: float64 array}."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): np.asarray(x, np.float64) for p, x in paths}


@partial(jax.jit, static_argnums=0)
def update(tx, params, opt_state, gradients):
    updates, opt_state = tx.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def run(tx, params, gradients, opt_state=None):
    """The parameters and the state after one update for each tree of gradients."""
    opt_state = tx.init(params) if opt_state is None else opt_state
    for gradient in gradients:
        params, opt_state = update(tx, params, opt_state, gradient)
    return params, opt_state


def assert_close(actual, expected, tolerance=2e-6):
    for path, value in flat(expected).items():
        np.testing.assert_allclose(flat(actual)[path], value, rtol=tolerance, atol=tolerance, err_msg=path)
