"""One update of the state, and evaluation at it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm import steps
from jaxlm.optim import SGD, Group
from jaxlm.steps import Mean
from step_helpers import (
    assert_close,
    assert_same_bits,
    loss,
    make_batch,
    masks,
    noisy_loss,
    numpy_loss_and_gradient,
    numpy_norm,
    plain,
    start,
)

RATE = 0.1
step = jax.jit(steps.update(steps.grad(loss), optax.sgd(RATE)))


@given(st.integers(0, 99), masks(6))
@settings(max_examples=25, deadline=None)
def test_one_step_of_sgd_equals_numpy_by_hand(seed, mask):
    state, batch = start(optax.sgd(RATE), seed), make_batch(seed, mask)
    after, metrics = step(state, batch)
    mean, gradient = numpy_loss_and_gradient(state.params, batch)
    assert_close(after.params, jax.tree.map(lambda p, g: np.asarray(p) - RATE * g, state.params, gradient), 1e-5)
    assert metrics["loss"].compute() == pytest.approx(mean, rel=1e-5, abs=1e-6)
    assert metrics["grad_norm"].compute() == pytest.approx(numpy_norm(gradient), rel=1e-5, abs=1e-6)


def test_the_norm_is_that_of_the_gradient_before_the_optimizer_clips_it():
    state, batch = start(optax.sgd(RATE)), make_batch(0, [1, 2])
    clipped = steps.update(steps.grad(loss), optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(RATE)))
    _, metrics = clipped(start(optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(RATE))), batch)
    assert metrics["grad_norm"].compute() == pytest.approx(
        numpy_norm(numpy_loss_and_gradient(state.params, batch)[1]), rel=1e-5
    )


def test_a_batch_of_no_weight_leaves_the_parameters_alone():
    state = start(optax.sgd(RATE))
    after, metrics = step(state, make_batch(0, [0, 0, 0]))
    assert_same_bits(after.params, state.params)
    assert after.step == 1
    assert metrics["grad_norm"].compute() == 0
    assert np.isnan(metrics["loss"].compute())


def test_the_size_of_a_batch_does_not_scale_the_update():
    batch = make_batch(0, [1, 2])
    twice = {name: np.concatenate([x, x]) for name, x in batch.items()}
    state = start(optax.sgd(RATE))
    assert_close(step(state, batch)[0].params, step(state, twice)[0].params)


def test_the_step_counts_and_the_key_never_changes():
    state = start(optax.sgd(RATE), seed=3)
    key = plain(state.key)
    for count in range(1, 4):
        state, _ = step(state, make_batch(count, [1, 1]))
        assert state.step == count
        assert state.step.dtype == jnp.int32
        assert (plain(state.key) == key).all()


def test_what_is_drawn_is_a_function_of_seed_and_step_alone():
    noisy = jax.jit(steps.update(steps.grad(noisy_loss), optax.sgd(0.0)))
    batch = make_batch(0, [1, 1, 1])
    draws = {}
    for seed in (0, 1):
        state = start(optax.sgd(0.0)).replace(key=jax.random.key(seed))
        for count in range(3):
            state, metrics = noisy(state, batch)
            draws[seed, count] = metrics["loss"].compute()
    assert len(set(draws.values())) == 6
    for (seed, count), value in draws.items():
        jumped = start(optax.sgd(0.0)).replace(key=jax.random.key(seed), step=jnp.int32(count))
        assert noisy(jumped, batch)[1]["loss"].compute() == value


def test_variables_and_the_state_of_the_optimizer_are_carried_on():
    def counting(params, variables, batch, key, *, train):
        metrics, _ = loss(params, variables, batch, key, train=train)
        return metrics, {"calls": variables["calls"] + 1}

    tx = optax.sgd(RATE, momentum=0.9)
    momentum = steps.update(steps.grad(counting), tx)
    state, batch = start(tx, variables={"calls": jnp.int32(0)}), make_batch(0, [1, 1])
    params, trace = state.params, jax.tree.map(np.zeros_like, state.params)
    for _ in range(3):
        _, gradient = numpy_loss_and_gradient(params, batch)
        trace = jax.tree.map(lambda t, g: 0.9 * t + g, trace, gradient)
        params = jax.tree.map(lambda p, t: np.asarray(p) - RATE * t, params, trace)
        state, _ = momentum(state, batch)
    assert_close(state.params, params, 1e-5)
    assert state.variables == {"calls": 3}


def test_the_learning_rate_is_reported_where_the_optimizer_carries_it():
    spec = SGD(peak_lr=0.5, warmup=4, schedule="constant", groups=(Group("."),))
    tx = spec(10)
    state, update = start(tx), steps.update(steps.grad(loss), tx)
    for count in range(3):
        state, metrics = update(state, make_batch(0, [1]))
        assert metrics["learning_rate"].compute() == pytest.approx(float(spec.learning_rate(10)(count)), rel=1e-6)
    assert "learning_rate" not in step(start(optax.sgd(RATE)), make_batch(0, [1]))[1]


def test_an_optimizer_with_several_learning_rates_can_be_used():
    sgd = optax.inject_hyperparams(optax.sgd)
    tx = optax.partition({"a": sgd(RATE), "b": sgd(2 * RATE)}, {"hidden": "a", "out": "b"})
    state, batch = start(tx), make_batch(0, [1, 1])
    after, metrics = steps.update(steps.grad(loss), tx)(state, batch)
    assert "learning_rate" not in metrics  # which one would it be?
    _, gradient = numpy_loss_and_gradient(state.params, batch)
    assert_close(after.params["out"], np.asarray(state.params["out"]) - 2 * RATE * gradient["out"], 1e-5)


def test_a_weight_may_be_a_plain_number():
    def unmasked(params, variables, batch, key, *, train):
        metrics, _ = loss(params, variables, batch, key, train=train)
        return {"loss": Mean(metrics["loss"].total, len(batch["y"]))}, variables

    state, batch = start(optax.sgd(RATE)), make_batch(0, [1, 1, 1, 1])
    for parts in (1, 2):
        after, _ = steps.update(steps.accumulate(steps.grad(unmasked), parts), optax.sgd(RATE))(state, batch)
        assert_close(after.params, step(state, batch)[0].params)


def test_evaluation_does_not_train_and_uses_the_average_where_there_is_one():
    calls = []

    def recording(params, variables, batch, key, *, train):
        calls.append(train)
        return loss(params, variables, batch, key, train=train)

    evaluate, batch = steps.evaluate(recording), make_batch(0, [1, 0.5])
    state = start(optax.sgd(RATE), ema=True)
    averaged = state.replace(ema={"params": jax.tree.map(lambda p: p / 2, state.params)})
    for eval_variables, params in ((state.replace(ema=None), state.params), (averaged, averaged.ema["params"])):
        assert evaluate(eval_variables, batch)["loss"].compute() == pytest.approx(
            numpy_loss_and_gradient(params, batch)[0], rel=1e-5
        )
    assert calls == [False, False]


def test_init_splits_the_parameters_from_the_other_collections():
    class Model:
        def init(self, key, x, scale):
            weight = jax.random.normal(key, (x.shape[-1],)) * scale
            return {"params": {"weight": weight}, "batch_stats": {"mean": jnp.zeros(2)}}

    key = jax.random.key(0)
    state = steps.init(Model(), optax.adam(1e-3), (np.ones((1, 5), np.float32), 2.0), key, ema=True)
    init_key, train_key = jax.random.split(key)
    assert_same_bits(state.params, {"weight": jax.random.normal(init_key, (5,)) * 2.0})
    assert_same_bits(state.key, train_key)
    assert list(state.variables) == ["batch_stats"]
    assert_same_bits(state.ema, {"params": state.params, **state.variables})
    assert state.step == state.skipped == 0
