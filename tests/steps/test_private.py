"""Clipped gradients of single examples, and noise on their sum."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.steps import Mean
from step_helpers import (
    PLACES,
    assert_close,
    everywhere,
    loss,
    make_batch,
    noisy_loss,
    numpy_loss_and_gradient,
    numpy_norm,
    parameters,
    start,
)

KEY = jax.random.key(7)
MASK = [1, 1, 0, 1, 0.25, 1, 1, 0]
C, EXPECTED = 0.7, 5.0


def by_hand(params, batch, bound):
    """Sum over examples of the gradient times min(1, bound / its norm), in float64, one example after the other."""
    total = {name: np.zeros(x.shape) for name, x in params.items()}
    for row in np.flatnonzero(batch["mask"]):
        one = {name: x[row : row + 1] for name, x in batch.items()}
        _, mean = numpy_loss_and_gradient(params, one)
        gradient = {name: x * one["mask"][0] for name, x in mean.items()}
        factor = min(1, bound / numpy_norm(gradient))
        total = {name: total[name] + factor * gradient[name] for name in total}
    return total


@cache
def step_of(name, parts, bound, std=0.0, of=loss):
    place = PLACES[name]
    grad = steps.accumulate(steps.clip_each(of, bound), parts)
    return place.compile(steps.update(steps.add_noise(place.reduce(grad), std, EXPECTED), optax.sgd(1.0)), donate=False)


def moved(name, batch, **options):
    """How far one update of rate 1 moves each parameter, times the expected size of a batch; and the metrics."""
    place = PLACES[name]
    state = place.init(lambda key: start(optax.sgd(1.0)).replace(key=key), jax.random.key(3))
    after, metrics = place.fetch(step_of(name, **options)(state, place.put(batch)))
    return jax.tree.map(lambda new, old: EXPECTED * (np.asarray(old) - new), after.params, parameters()), metrics


@everywhere
@pytest.mark.parametrize("parts", [1, 2])
def test_each_gradient_is_clipped_whatever_the_placement_and_the_micro_batches(name, parts):
    batch = make_batch(1, MASK)
    found, metrics = moved(name, batch, parts=parts, bound=C)
    expected = by_hand(parameters(), batch, C)
    assert numpy_norm(by_hand(parameters(), batch, 1e9)) > 2 * numpy_norm(expected)  # so that the clip is seen
    assert_close(found, expected, 1e-5)
    assert metrics["clipped"].weight == 6
    assert 0 < metrics["clipped"].compute() < 1


def test_without_a_bound_and_noise_it_is_the_plain_step():
    batch = make_batch(2, [1.0] * int(EXPECTED))
    plain = steps.update(steps.grad(loss), optax.sgd(1.0))
    private = steps.update(steps.add_noise(steps.clip_each(loss, np.inf), 0.0, EXPECTED), optax.sgd(1.0))
    expected, _ = plain(start(optax.sgd(1.0)), batch)
    found, metrics = private(start(optax.sgd(1.0)), batch)
    assert_close(found.params, expected.params, 1e-6)
    assert metrics["clipped"].compute() == 0
    assert metrics["loss"].compute() == pytest.approx(numpy_loss_and_gradient(parameters(), batch)[0], rel=1e-5)


def test_the_sum_is_divided_by_the_expected_size_and_not_by_the_real_one():
    batch = make_batch(2, [1.0] * 2)
    found, metrics = moved("local", batch, parts=1, bound=1e9)
    mean, gradient = numpy_loss_and_gradient(parameters(), batch)
    assert_close(found, jax.tree.map(lambda x: 2 * x, gradient), 1e-5)  # `moved` is times the expected size
    assert metrics["loss"].compute() == pytest.approx(mean, rel=1e-5)


def test_one_example_moves_the_sum_by_no_more_than_the_bound():
    batch = make_batch(3, [1.0] * 8)
    without = batch | {"mask": np.array([0, *[1] * 7], np.float32)}
    whole, _ = moved("local", batch, parts=1, bound=C)
    less, _ = moved("local", without, parts=1, bound=C)
    assert numpy_norm(jax.tree.map(np.subtract, whole, less)) <= C * (1 + 1e-5)


@everywhere
def test_noise_is_added_once_and_the_same_everywhere(name):
    batch = make_batch(1, MASK)
    noisy, _ = moved(name, batch, parts=2, bound=C, std=3.0)
    quiet, _ = moved(name, batch, parts=2, bound=C)
    noise = jax.tree.map(np.subtract, noisy, quiet)
    reference, _ = moved("local", batch, parts=1, bound=C, std=3.0)
    assert_close(noisy, reference, 1e-4)
    assert numpy_norm(noise) > 0


def test_noise_has_the_deviation_that_was_asked_for_and_is_new_in_each_update():
    params = {"w": jnp.zeros(40_000)}

    def flat(params, variables, batch, key):
        return jax.tree.map(jnp.zeros_like, params), {"loss": Mean(0.0, 0.0)}, variables

    noisy = jax.jit(steps.add_noise(flat, 2.5, EXPECTED))
    first, second = (np.asarray(noisy(params, {}, {}, jax.random.key(n))[0]["w"]) for n in range(2))
    assert first.std() == pytest.approx(2.5, rel=0.02)  # five deviations of an estimate from 40,000
    assert abs(first.mean()) < 5 * 2.5 / 200
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / 200


@everywhere
def test_an_empty_batch_is_an_update_of_noise_alone(name):
    empty, metrics = moved(name, make_batch(1, [0.0] * 8), parts=2, bound=C, std=1.0)
    assert np.isfinite(numpy_norm(empty))
    assert numpy_norm(empty) > 0
    assert (metrics["loss"].total, metrics["loss"].weight) == (0, EXPECTED)


@everywhere
def test_draws_from_the_keys_of_examples_do_not_depend_on_how_a_batch_is_divided(name):
    batch = make_batch(4, MASK) | {"keys": np.arange(16, dtype=np.uint32).reshape(8, 2)}
    found, _ = moved(name, batch, parts=2, bound=C, of=noisy_loss)
    reference, _ = moved("local", batch, parts=1, bound=C, of=noisy_loss)
    assert_close(found, reference, 1e-5)
    other, _ = moved("local", batch | {"keys": batch["keys"] + 1}, parts=1, bound=C, of=noisy_loss)
    assert numpy_norm(jax.tree.map(np.subtract, other, reference)) > 0.01


def test_examples_without_keys_draw_apart():
    same = {name: np.repeat(x[:1], 2, 0) for name, x in make_batch(5, [1.0]).items()}

    def drawing(params, variables, batch, key, *, train):
        return {"loss": Mean(params["w"] * jax.random.normal(key), 1.0)}, variables

    grads, _, _ = steps.clip_each(drawing, np.inf)({"w": jnp.ones(())}, {}, same, KEY)
    alone = [jax.random.normal(jax.random.fold_in(KEY, row)) for row in range(2)]
    assert grads["w"] == pytest.approx(float(sum(alone)), rel=1e-6)
    assert abs(alone[0] - alone[1]) > 0.1


def test_an_example_of_a_gradient_that_is_not_finite_adds_nothing():
    batch = make_batch(6, [1.0] * 4)
    batch["y"][1] = np.inf
    grads, metrics, _ = steps.clip_each(loss, C)(parameters(), {}, batch, KEY)
    left_out = batch | {"mask": np.array([1, 0, 1, 1], np.float32), "y": np.nan_to_num(batch["y"], posinf=0)}
    assert_close(grads, by_hand(parameters(), left_out, C), 1e-5)
    assert metrics["clipped"].weight == 4


def test_copies_of_an_example_are_averaged_before_the_clip():
    batch = make_batch(7, [1.0] * 3) | {"keys": np.arange(6, dtype=np.uint32).reshape(3, 2)}

    def shaken(params, variables, batch, key, *, train):
        keys = jax.random.wrap_key_data(batch["keys"], impl="threefry2x32")
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
        return loss(params, variables, batch | {"x": batch["x"] + noise}, key, train=train)

    found, metrics, _ = steps.clip_each(shaken, C, copies=2)(parameters(), {}, batch, KEY)
    total = jax.tree.map(jnp.zeros_like, parameters())
    for row in range(3):
        keys = jax.random.split(jax.random.wrap_key_data(batch["keys"][row], impl="threefry2x32"), 2)
        twice = {name: np.repeat(x[row : row + 1], 2, 0) for name, x in batch.items()}
        twice["keys"] = np.asarray(jax.random.key_data(keys))
        grads, _, _ = steps.grad(shaken)(parameters(), {}, twice, KEY)
        factor = min(1, C / (numpy_norm(grads) / 2)) / 2
        total = jax.tree.map(lambda x, g, factor=factor: x + factor * g, total, grads)
    assert_close(found, total, 1e-5)
    assert metrics["loss"].weight == 3


class Mixing(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return ImageNorm("batch")(x[:, None, None, :], train=train)[:, 0, 0].sum(-1)


def test_batch_normalisation_is_refused():
    variables = Mixing().init(KEY, jnp.zeros((1, 3)), train=True)

    def mixing(params, variables, batch, key, *, train):
        found, changed = Mixing().apply({"params": params, **variables}, batch["x"], train=True, mutable="batch_stats")
        return {"loss": Mean(found.sum(), found.size)}, {**variables, **changed}

    with pytest.raises(BadInput, match="the model updates batch_stats.*--model.norm group"):
        steps.clip_each(mixing, C)(
            variables["params"], {"batch_stats": variables["batch_stats"]}, make_batch(1, MASK), KEY
        )
