"""Hyperparameters that are state: a loss is what it is with constants, and follows the state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.steps import Mean
from jaxlm.steps.transforms import ema, inject, skip_nonfinite
from step_helpers import assert_close, assert_same_bits, loss, make_batch, start

TX = optax.sgd(0.1)


def penalised(values):
    """A loss with a penalty of a strength that is a hyperparameter, in training."""

    def total(params, variables, batch, key, *, train):
        assert set(variables) == {"seen"}
        metrics, _ = loss(params, variables, batch, key, train=train)
        penalty = values["strength"] * sum((x**2).sum() for x in jax.tree.leaves(params)) if train else 0
        found = metrics["loss"]
        return {"loss": Mean(found.total + penalty, found.weight)}, {"seen": variables["seen"] + 1}

    return total


def begin(**held):
    return start(TX, variables={"seen": jnp.zeros(())}, hyperparameters=held)


def step_of(loss, parts=1):
    return jax.jit(skip_nonfinite(steps.update(steps.accumulate(steps.grad(loss), parts), TX)))


def test_without_any_in_the_state_it_is_the_loss_that_is_made():
    batch = make_batch(0, [1, 0.5, 0, 2])
    injected, plain = (
        step_of(f)(begin(), batch) for f in (inject(penalised, {"strength": 0.3}), penalised({"strength": 0.3}))
    )
    assert_same_bits(injected, plain)


@pytest.mark.parametrize("parts", [1, 2])
def test_what_the_state_holds_goes_before_what_was_composed(parts):
    batch, injected = make_batch(0, [1, 0.5, 0, 2]), step_of(inject(penalised, {"strength": 9.0}), parts)
    for strength in (0.3, 0.7):
        state, metrics = injected(begin(strength=strength), batch)
        expected, plain = step_of(penalised({"strength": strength}), parts)(begin(), batch)
        assert_close((state.params, state.variables, metrics), (expected.params, expected.variables, plain))
        np.testing.assert_array_equal(state.hyperparameters["strength"], np.float32(strength))
    assert injected._cache_size() == 1


def test_an_evaluation_is_given_them_too():
    seen = []

    def make(values):
        seen.append(values)
        return penalised(values)

    steps.evaluate(inject(make, {"strength": 9.0}))(begin(strength=0.25), make_batch(0, [1]))
    assert [float(values["strength"]) for values in seen] == [9.0, 0.25]


def test_the_decay_of_the_state_is_that_of_the_average_and_is_not_averaged():
    step = steps.update(steps.grad(loss), TX)
    batch = make_batch(0, [1, 0.5, 0])
    averaged = jax.jit(ema(step, 0.5))
    for decay in (0.25, 0.9):
        late = {"step": jnp.int32(10_000)}  # beyond the warm-up of the decay
        state, _ = averaged(start(TX, ema=True, hyperparameters={"ema": decay}).replace(**late), batch)
        expected, _ = jax.jit(ema(step, decay))(start(TX, ema=True).replace(**late), batch)
        assert_close(state.ema, expected.ema)
        assert set(state.ema) == {"params"}
        np.testing.assert_array_equal(state.hyperparameters["ema"], np.float32(decay))
    assert averaged._cache_size() == 1
