"""The gradient of a sum, and the same sum in micro-batches."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm import steps
from jaxlm.steps import Mean
from jaxlm.steps.gradient import split
from step_helpers import (
    assert_close,
    assert_same_bits,
    loss,
    make_batch,
    masks,
    noisy_loss,
    numpy_loss_and_gradient,
    parameters,
)

KEY = jax.random.key(7)


@lru_cache
def compiled(parts, of=loss):
    return jax.jit(steps.accumulate(steps.grad(of), parts))


@jax.jit
@jax.grad
def gradient_of_the_mean(params, batch):
    error = jnp.tanh(batch["x"] @ params["hidden"]) @ params["out"] - batch["y"]
    return jnp.average(error**2, weights=batch["mask"])


@given(st.integers(0, 99), masks(6))
@settings(max_examples=25, deadline=None)
def test_the_gradient_divided_by_the_weight_is_the_gradient_of_the_mean(seed, mask):
    params, batch = parameters(seed), make_batch(seed, mask)
    grads, metrics, _ = compiled(1)(params, {}, batch, KEY)
    divided = jax.tree.map(lambda g: np.asarray(g) / np.asarray(metrics["loss"].weight), grads)
    assert_close(divided, gradient_of_the_mean(params, batch), 1e-5)
    by_hand, gradient = numpy_loss_and_gradient(params, batch)
    assert_close(divided, gradient, 1e-5)
    assert metrics["loss"].compute() == pytest.approx(by_hand, rel=1e-5, abs=1e-6)


def test_the_gradient_comes_with_the_metrics_and_variables_of_a_training_call():
    seen = []

    def recording(params, variables, batch, key, *, train):
        seen.append((train, key))
        metrics, _ = loss(params, variables, batch, key, train=train)
        return metrics | {"extra": Mean(5.0, 2.0)}, {"calls": variables["calls"] + 1}

    _, metrics, variables = steps.grad(recording)(parameters(), {"calls": 3}, make_batch(0, [1, 1]), KEY)
    assert [train for train, _ in seen] == [True]
    assert_same_bits(seen[0][1], KEY)
    assert metrics["extra"] == Mean(5.0, 2.0)
    assert variables == {"calls": 4}


def test_other_metrics_and_variables_are_not_differentiated():
    def with_extras(params, variables, batch, key, *, train):
        metrics, _ = loss(params, variables, batch, key, train=train)
        norm = sum(jnp.sum(p**2) for p in jax.tree.leaves(params))
        return metrics | {"norm": Mean(norm, jnp.ones(()))}, {"norm": norm}

    batch = make_batch(0, [1, 0.5, 0])
    grads, _, _ = steps.grad(with_extras)(parameters(), {}, batch, KEY)
    assert_same_bits(grads, steps.grad(loss)(parameters(), {}, batch, KEY)[0])


def test_one_micro_batch_is_the_very_same_function():
    grad = steps.grad(loss)
    assert steps.accumulate(grad, 1) is grad


@given(st.data(), st.integers(2, 4), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_micro_batches_sum_to_the_whole_batch(data, parts, examples, seed):
    batch = make_batch(seed, data.draw(masks(parts * examples)))
    params = parameters(seed)
    grads, metrics, _ = compiled(parts)(params, {}, batch, KEY)
    whole_grads, whole_metrics, _ = compiled(1)(params, {}, batch, KEY)
    weight = np.asarray(whole_metrics["loss"].weight)
    assert metrics["loss"].weight == weight
    divide = lambda tree: jax.tree.map(lambda x: np.asarray(x) / weight, tree)  # noqa: E731
    assert_close(divide((grads, metrics)), divide((whole_grads, whole_metrics)))


def test_averaging_the_gradients_of_micro_batches_would_be_wrong():
    """What optax.MultiSteps does, so that the test above is known to be able to fail."""
    batch, params = make_batch(0, [1, 1, 1, 1, 1, 0, 0, 0]), parameters()
    _, gradient = numpy_loss_and_gradient(params, batch)
    halves = [{name: x[half::2] for name, x in batch.items()} for half in range(2)]
    averaged = jax.tree.map(lambda a, b: (a + b) / 2, *(numpy_loss_and_gradient(params, half)[1] for half in halves))
    error = np.linalg.norm(averaged["out"] - gradient["out"]) / np.linalg.norm(gradient["out"])
    assert error > 0.05
    grads, metrics, _ = compiled(2)(params, {}, batch, KEY)
    assert_close(jax.tree.map(lambda g: g / metrics["loss"].weight, grads), gradient, 1e-5)


def test_a_micro_batch_without_weight_adds_nothing():
    batch = make_batch(0, [1, 0, 1, 0])
    alone = {name: x[::2] for name, x in batch.items()}
    assert_close(compiled(2)(parameters(), {}, batch, KEY), compiled(1)(parameters(), {}, alone, KEY))


def test_micro_batch_j_takes_examples_j_and_every_parts_th_after_it():
    assert split({"x": np.arange(12).reshape(6, 2)}, 3)["x"][1].tolist() == [[2, 3], [8, 9]]


@pytest.mark.parametrize(("size", "parts"), [(5, 2), (2, 4), (1, 3)])
def test_a_batch_that_does_not_divide_is_refused_with_both_sizes(size, parts):
    with pytest.raises(ValueError, match=rf"batch of {size} .* {parts} micro-batches"):
        steps.accumulate(steps.grad(loss), parts)(parameters(), {}, make_batch(0, [1] * size), KEY)


def test_variables_pass_through_the_micro_batches_in_order():
    def remembering(params, variables, batch, key, *, train):
        """A number whose digits are the examples seen, in order."""
        metrics, _ = loss(params, variables, batch, key, train=train)
        return metrics, {"seen": variables["seen"] * 10 + batch["index"].sum()}

    batch = make_batch(0, [1] * 4) | {"index": np.array([1, 2, 3, 4])}
    _, _, variables = compiled(4, remembering)(parameters(), {"seen": jnp.int32(9)}, batch, KEY)
    assert variables["seen"] == 91234


def test_each_micro_batch_draws_its_own_numbers_from_the_key_and_its_index():
    params, batch = parameters(), make_batch(0, [1] * 4)
    parts = [{name: x[j::2] for name, x in batch.items()} for j in range(2)]
    by_hand = [compiled(1, noisy_loss)(params, {}, part, jax.random.fold_in(KEY, j)) for j, part in enumerate(parts)]
    assert_close(compiled(2, noisy_loss)(params, {}, batch, KEY), jax.tree.map(jnp.add, *by_hand), 1e-5)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
def test_sums_of_micro_batches_keep_the_dtypes_of_the_whole(dtype):
    def counting(params, variables, batch, key, *, train):
        metrics, _ = loss(params, variables, batch, key, train=train)
        return metrics | {"examples": Mean(jnp.ones((), dtype), jnp.ones((), dtype))}, variables

    grad, batch = steps.grad(counting), make_batch(0, [1] * 4)
    whole = jax.eval_shape(grad, parameters(), {}, batch, KEY)
    assert jax.eval_shape(steps.accumulate(grad, 2), parameters(), {}, batch, KEY) == whole
