"""Random changes of images: what they keep, what they draw from, and what NumPy and Pillow make of the same images."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented import BATCH, CLASSES, apply, compiled, draw, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm import steps
from jaxlm.data.images.augment import (
    CutMix,
    HorizontalFlip,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    augment,
    normalise,
)
from jaxlm.data.images.rand_augment import RandAugment
from jaxlm.data.images.sources import Digits
from jaxlm.losses.classification import classification
from jaxlm.models.mlp import MLP
from jaxlm.parallel import local, mesh
from jaxlm.steps import transforms

EXACT = (RandomCrop(2), HorizontalFlip())  # pixels are moved, not computed
ALONE = (*EXACT, RandomAffine(20.0, 0.2, 0.2), RandomErasing(0.5), RandAugment())
MIXED = (MixUp(), CutMix())
ALL = ALONE + MIXED


def named(operations):
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: type(operation).__name__)


def same(operation, found, expected):
    """The images of operations that only move pixels have equal bits, the others agree to rounding."""
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0 if operation in EXACT else 1e-6)


# What every operation keeps.


@named(ALL)
@settings(max_examples=15)
@given(seed=seeds)
def test_shape_dtype_range_and_probabilities_are_kept(operation, seed):
    batch = draw(seed)
    found = compiled(operation)(batch)
    assert (found["image"].shape, found["image"].dtype) == ((BATCH, 6, 5, 3), jnp.float32)
    assert (found["target"].shape, found["target"].dtype) == ((BATCH, CLASSES), jnp.float32)
    assert found["image"].min() >= -1e-6
    assert found["image"].max() <= 1 + 1e-6
    assert found["target"].min() >= 0
    np.testing.assert_allclose(found["target"].sum(-1), 1, atol=1e-6)
    assert np.array_equal(found["label"], batch["label"])
    if operation in ALONE:
        assert np.array_equal(found["target"], np.eye(CLASSES)[batch["label"]])


@named(ALL)
def test_grey_images_of_one_channel_will_do(operation):
    found, _ = apply(draw(0, shape=(7, 6, 1)), operation)
    assert found.shape == (BATCH, 7, 6, 1)
    assert np.isfinite(found).all()


@named(ALL)
def test_other_draws_give_other_images(operation):
    batch, other = draw(1), draw(2)
    first, _ = apply(batch, operation)
    second, _ = apply(batch | {"keys": other["keys"]}, operation)
    assert not np.array_equal(first, second)


@named(ALL)
def test_bytes_give_what_floats_give(operation):
    batch = draw(3)
    as_bytes = np.round(batch["image"] * 255).astype(np.uint8)
    for ours, theirs in zip(apply(batch | {"image": as_bytes}, operation), apply(batch, operation), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_an_operation_draws_otherwise_at_another_place_of_the_list():
    batch = draw(4, count=64)
    once, twice = apply(batch, HorizontalFlip())[0], apply(batch, HorizontalFlip(), HorizontalFlip())[0]
    assert not np.array_equal(twice, batch["image"])  # as it would be if both drew the same
    assert not np.array_equal(twice, once)


# Functions of an example's own draws.


@named(ALONE)
@settings(max_examples=10)
@given(seed=seeds, order=st.permutations(range(BATCH)))
def test_a_permutation_of_the_batch_permutes_the_outcome(operation, seed, order):
    batch = draw(seed)
    moved = {name: values[np.asarray(order)] for name, values in batch.items()}
    same(operation, apply(moved, operation), [values[np.asarray(order)] for values in apply(batch, operation)])


@named(ALONE)
@pytest.mark.parametrize("parts", [4])
def test_micro_batches_give_the_images_of_the_whole_batch(operation, parts):
    batch = draw(5)
    whole = apply(batch, operation)
    for index in range(parts):
        part = jax.tree.map(lambda x, index=index: np.asarray(x[index]), steps.gradient.split(batch, parts))
        same(operation, apply(part, operation), [values[index::parts] for values in whole])


@named(ALL)
def test_compiled_or_not_is_the_same(operation):
    batch = draw(6)
    eager = augment((operation,), CLASSES, batch)
    same(operation, (eager["image"], eager["target"]), apply(batch, operation))


@named(ALL)
def test_four_devices_give_what_one_gives(operation):
    batch, place = draw(7), mesh()
    assert place.devices == 4
    found = place.fetch(compiled(operation)(place.put(batch)))
    same(operation, (found["image"], found["target"]), apply(batch, operation))


# Within a training step.

DATA = Digits(batch=16, augment=(RandomCrop(1), HorizontalFlip(), RandomErasing(0.5), MixUp(), CutMix()))


def test_evaluation_and_no_operations_leave_batches_alone():
    held = DATA.eval()[0]
    assert set(held) == {"image", "label", "mask", "keys"}
    prepared = DATA.prepare(held)
    assert prepared["image"].dtype == jnp.float32
    assert np.array_equal(prepared["image"], normalise(held["image"], (0.5,), (0.5,)))
    assert np.array_equal(Digits().eval()[0]["image"][:16], held["image"])
    batch = Digits(batch=16).train(0)[0]
    assert Digits(batch=16).augmented(batch) is batch


@cache
def gradients(parts):
    model = MLP(classes=10, hidden=(4,))
    loss = transforms.prepare(classification(model), DATA.prepare)
    grad = transforms.prepare(steps.accumulate(steps.grad(loss), parts), DATA.augmented)
    params = jax.jit(model.init)(jax.random.key(0), DATA.example())["params"]
    batch = local().put(DATA.train(0)[3])
    return jax.device_get(jax.jit(grad)(params, {}, batch, jax.random.key(1)))


@pytest.mark.parametrize("parts", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_accumulation_over_augmented_micro_batches_gives_the_gradient_of_the_whole(parts):
    (found, metrics, _), (expected, whole, _) = gradients(parts), gradients(1)
    assert whole["loss"].weight == 16
    for ours, theirs in zip(jax.tree.leaves((found, metrics)), jax.tree.leaves((expected, whole)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_augmentation_changes_the_gradient():
    model, batch = MLP(classes=10, hidden=(4,)), DATA.train(0)[3]
    plain = steps.grad(transforms.prepare(classification(model), DATA.prepare))
    params = jax.jit(model.init)(jax.random.key(0), DATA.example())["params"]
    _, metrics, _ = jax.jit(plain)(params, {}, batch, jax.random.key(1))
    assert metrics["loss"].total != gradients(1)[1]["loss"].total
