"""A run on a device of its own is the step on its own, bit for bit; a vmapped one computes the same function."""

import jax
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.optim import SGD, Group, set_hyperparameters
from jaxlm.parallel import together
from step_helpers import assert_close, assert_same_bits, make_batch, noisy_loss, start

RUNS = 3
LEARNING_RATES = [0.0, 0.1, 0.3]


def states_of(tx):
    """States of three seeds, each with a learning rate of its own."""
    states = [start(tx, seed=seed) for seed in range(RUNS)]
    set_rate = [set_hyperparameters(s.opt_state, {"peak_lr": x}) for s, x in zip(states, LEARNING_RATES, strict=True)]
    return [state.replace(opt_state=opt_state) for state, opt_state in zip(states, set_rate, strict=True)]


@pytest.mark.parametrize(("packing", "check"), [("devices", assert_same_bits), ("vmapped", assert_close)])
def test_each_run_is_the_step_on_its_own(packing, check):
    tx = SGD(peak_lr=0.7, momentum=0.9, schedule="constant", groups=(Group("all"),))(10)
    step, runs = steps.update(steps.grad(noisy_loss), tx), together(packing)
    batches = [make_batch(10 + seed, [1.0, 2.0, 0.0, 1.0]) for seed in range(RUNS)]
    states, placed = runs.place(states_of(tx)), runs.put(batches)
    states, metrics = runs.compile(step, states, placed)(states, placed)
    np.testing.assert_array_equal(metrics["learning_rate"].total, np.float32(LEARNING_RATES))
    for run, (state, batch) in enumerate(zip(states_of(tx), batches, strict=True)):
        alone, metrics_alone = jax.jit(step)(state, batch)
        check(runs.take(states, run), alone)
        check(jax.tree.map(lambda x, run=run: x[run], metrics), metrics_alone)


@pytest.mark.parametrize(("packing", "devices"), [("devices", RUNS), ("vmapped", 1)])
def test_states_are_taken_back_to_the_first_device(packing, devices):
    runs, states = together(packing), [start(optax.adam(0.1), seed=seed) for seed in range(RUNS)]
    placed = runs.place(states)
    assert len({device for leaf in jax.tree.leaves(placed) for device in leaf.devices()}) == devices
    for run, state in enumerate(states):
        taken = runs.take(placed, run)
        assert_same_bits(taken, state)
        assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(taken))
