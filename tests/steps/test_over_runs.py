"""A run of an exact packing is the step on its own slices, bit for bit; every packing computes the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from step_helpers import make_batch, noisy_loss, start

from jaxlm import steps
from jaxlm.optim import SGD, Group, set_hyperparameters
from jaxlm.steps.transforms import over_runs

RUNS = 3


def lanes(tx=None):
    """States of three seeds, and a batch for each."""
    states = [start(tx or optax.adam(0.1), seed=seed) for seed in range(RUNS)]
    return states, [make_batch(10 + seed, [1.0, 2.0, 0.0, 1.0]) for seed in range(RUNS)]


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def leaves(tree):
    return [np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
            for x in jax.tree.leaves(tree)]  # fmt: skip


@pytest.mark.parametrize("packing", ["unrolled", "mapped", "vmapped"])
def test_each_run_is_the_step_on_its_own_slices(packing):
    step = steps.update(steps.grad(noisy_loss), optax.adam(0.1))
    states, batches = lanes()
    packed, metrics = jax.jit(over_runs(step, packing))(stack(states), stack(batches))
    for run, (state, batch) in enumerate(zip(states, batches, strict=True)):
        alone = leaves(jax.jit(step)(state, batch))
        here = leaves(jax.tree.map(lambda x, run=run: x[run], (packed, metrics)))
        assert len(alone) == len(here)
        for one, other in zip(alone, here, strict=True):
            if packing == "vmapped":
                np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("packing", ["unrolled", "mapped", "vmapped"])
def test_hyperparameters_that_are_state_differ_by_run(packing):
    peaks = [0.0, 0.1, 0.3]
    tx = SGD(peak=0.7, shape="constant", groups=(Group("all"),))(10)
    states, batches = lanes(tx)
    step = steps.update(steps.grad(noisy_loss), tx)
    states = [
        state.replace(opt_state=set_hyperparameters(state.opt_state, {"peak": peak}))
        for state, peak in zip(states, peaks, strict=True)
    ]
    _, metrics = jax.jit(over_runs(step, packing))(stack(states), stack(batches))
    np.testing.assert_array_equal(metrics["learning_rate"].total, np.float32(peaks))


def test_there_is_no_other_packing():
    with pytest.raises(ValueError, match="no packing 'sideways': choose one of unrolled, mapped, vmapped"):
        over_runs(lambda x: x, "sideways")
