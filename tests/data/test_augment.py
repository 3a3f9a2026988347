"""Random changes of images: what they keep, what they draw from, and what NumPy and Pillow make of the same images."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from jaxlm import steps
from jaxlm.data import rand_augment
from jaxlm.data.augment import (
    CutMix,
    HorizontalFlip,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    augment,
    normalise,
    rotation,
    warp,
)
from jaxlm.data.image_specs import Digits
from jaxlm.data.rand_augment import CHANGES, RandAugment
from jaxlm.losses.classification import classification
from jaxlm.models.mlp import MLP
from jaxlm.parallel import local, mesh
from jaxlm.steps import transforms

CLASSES, BATCH = 3, 8
EXACT = (RandomCrop(2), HorizontalFlip())  # pixels are moved, not computed
ALONE = (*EXACT, RandomAffine(20.0, 0.2, 0.2), RandomErasing(0.5), RandAugment())
MIXED = (MixUp(), CutMix())
ALL = ALONE + MIXED
seeds = st.integers(0, 2**32 - 1)


def named(operations):
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: type(operation).__name__)


def draw(seed, count=BATCH, shape=(6, 5, 3)):
    """A batch of float images of whole 255ths: of bytes, XLA's division by 255 may be off by the last bit."""
    numbers = np.random.default_rng(seed)
    return {
        "image": numbers.integers(0, 256, (count, *shape)).astype(np.float32) / np.float32(255),
        "label": numbers.integers(0, CLASSES, count, dtype=np.int32),
        "draws": numbers.integers(0, 2**32, (count, 2), dtype=np.uint32),
    }


@cache
def compiled(*operations):
    return jax.jit(partial(augment, operations, CLASSES))


def apply(batch, *operations):
    found = compiled(*operations)(batch)
    return np.asarray(found["image"]), np.asarray(found["target"])


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
    second, _ = apply(batch | {"draws": other["draws"]}, operation)
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


# Flip and crop.


@settings(max_examples=10)
@given(seeds)
def test_a_flip_of_probability_0_is_the_identity_and_of_1_the_mirror_image(seed):
    batch = draw(seed)
    assert np.array_equal(apply(batch, HorizontalFlip(0.0))[0], batch["image"])
    assert np.array_equal(apply(batch, HorizontalFlip(1.0))[0], batch["image"][:, :, ::-1])


def test_half_of_the_images_are_flipped():
    batch = draw(8, count=4000, shape=(1, 2, 1))
    batch["image"][:] = np.float32([0, 1])[None, None, :, None]
    flipped = (apply(batch, HorizontalFlip())[0][:, 0, 0, 0] == 1).mean()
    assert flipped == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    rare = (apply(batch, HorizontalFlip(0.1))[0][:, 0, 0, 0] == 1).mean()
    assert rare == pytest.approx(0.1, abs=4 * 0.3 / 4000**0.5)


@pytest.mark.parametrize("padding", [1, 2])
def test_a_crop_is_one_of_numpys_crops_of_the_padded_image(padding):
    batch = draw(9, count=600, shape=(4, 3, 2))
    found, padded = (
        apply(batch, RandomCrop(padding))[0],
        np.pad(batch["image"], ((0, 0), *[(padding,) * 2] * 2, (0, 0))),
    )
    corners = [(y, x) for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    equal = np.stack([(padded[:, y : y + 4, x : x + 3] == found).all((1, 2, 3)) for y, x in corners])
    assert equal.any(0).all()
    counts = equal.sum(1)
    expected = 600 / len(corners)
    assert (abs(counts - expected) < 5 * expected**0.5).all()  # every corner, and each as often


def test_a_crop_without_padding_and_an_affine_map_without_range_are_the_identity():
    batch = draw(10)
    assert np.array_equal(apply(batch, RandomCrop(0))[0], batch["image"])
    assert np.array_equal(apply(batch, RandomAffine(0.0, 0.0, 0.0))[0], batch["image"])


# Affine maps.


@pytest.mark.parametrize("quarters", [-1, 1, 2])
@pytest.mark.parametrize("size", [4, 5])
def test_a_turn_by_positive_quarters_is_clockwise(quarters, size):
    """A positive angle of `rotation` turns the picture with the clock, other than `np.rot90` does.

    Points a hair outside of the image are blended with black, so its border may lose a millionth.
    """
    image = draw(11, 1, (size, size, 3))["image"][0]
    found = warp(image, rotation(jnp.float32(quarters * np.pi / 2)), (0.0, 0.0))
    np.testing.assert_allclose(found, np.rot90(image, -quarters), atol=1e-5)


@settings(max_examples=15)
@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_move_by_whole_pixels_is_numpys_shift_down_and_to_the_right(down, across):
    image = draw(12, 1)["image"][0]
    found = warp(image, ((1.0, 0.0), (0.0, 1.0)), (float(down), float(across)))
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))
    expected = padded[3 - down : 9 - down, 3 - across : 8 - across]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_move_by_half_a_pixel_is_the_mean_of_two():
    image = draw(13, 1)["image"][0]
    found = warp(image, ((1.0, 0.0), (0.0, 1.0)), (0.0, 0.5))
    left = np.pad(image, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    np.testing.assert_allclose(found, (image + left) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "weigh"),
    [(RandomAffine(0.0, 0.25, 0.0), 2.0), (RandomAffine(0.0, 0.0, 0.2), 0.0), (RandomAffine(30.0, 0.0, 0.0), 0.0)],
    ids=["translate", "scale", "degrees"],
)
def test_a_dot_stays_within_the_range_of_an_affine_map(operation, weigh):
    """The centre of gravity of a dot in the middle moves by the move alone, and by no more than the share."""
    batch = draw(14, count=200, shape=(17, 17, 1))
    batch["image"][:] = 0
    batch["image"][:, 7:10, 7:10] = 1
    found = apply(batch, operation)[0][..., 0]
    places = np.arange(17) - 8.0
    mass = found.sum((1, 2))
    centre = np.stack([(found.sum(2) * places).sum(1), (found.sum(1) * places).sum(1)]) / mass
    assert abs(centre).max() <= 0.25 * 17 * (weigh > 0) + 1e-4
    if weigh:
        assert abs(centre).max() > 0.2 * 17
        assert abs(centre.mean(1)).max() < 5 * 0.25 * 17 / 3**0.5 / 200**0.5
    if operation.scale:
        assert (mass / 9).min() < 0.8
        assert (mass / 9).max() > 1.2


# Erasing and mixing.


@settings(max_examples=10)
@given(seeds)
def test_erasing_fills_a_rectangle_with_its_value_and_nothing_else(seed):
    batch = draw(seed, shape=(12, 10, 3))
    batch["image"] /= 2  # none has the value that is filled in
    found = apply(batch, RandomErasing(1.0, 0.75))[0]
    for image, old in zip(found, batch["image"], strict=True):
        changed = (image != old).any(-1)
        rows, columns = changed.any(1), changed.any(0)
        assert np.array_equal(changed, rows[:, None] & columns[None])
        assert all(np.diff(np.flatnonzero(line)).max(initial=1) == 1 for line in (rows, columns))
        assert (image[changed] == 0.75).all()
        assert changed.mean() <= 0.5
    assert (found != batch["image"]).any()


def test_erasing_of_probability_0_is_the_identity_and_else_about_that_share():
    batch = draw(15, count=1000, shape=(8, 8, 1))
    assert np.array_equal(apply(batch, RandomErasing(0.0))[0], batch["image"])
    share = (apply(batch, RandomErasing(0.25))[0] != batch["image"]).any((1, 2, 3)).mean()
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 1000) ** 0.5 + 0.01)  # tiny ones may miss all pixels


@settings(max_examples=10)
@given(seeds, st.sampled_from([BATCH, BATCH - 1]))
def test_mixup_blends_image_and_target_with_one_share(seed, count):
    batch = draw(seed, count)
    batch["label"] = np.arange(count, dtype=np.int32)
    found = jax.jit(partial(augment, (MixUp(1.0),), count))(batch)
    share = np.diagonal(found["target"]).copy()
    if count % 2:
        assert share[count // 2] == pytest.approx(1)  # its own partner
    eye = np.eye(count)
    np.testing.assert_allclose(found["target"], share[:, None] * eye + (1 - share)[:, None] * eye[::-1], atol=1e-6)
    images, weights = batch["image"], share[:, None, None, None]
    np.testing.assert_allclose(found["image"], weights * images + (1 - weights) * images[::-1], atol=1e-6)
    assert len(np.unique(share)) > count // 2


@settings(max_examples=10)
@given(seeds)
def test_cutmix_mixes_targets_by_exactly_the_share_of_pixels(seed):
    batch = draw(seed, shape=(8, 16, 1))
    batch["label"] = np.arange(BATCH, dtype=np.int32)
    batch["image"][:] = np.arange(BATCH, dtype=np.float32)[:, None, None, None] / BATCH
    found = jax.jit(partial(augment, (CutMix(),), BATCH))(batch)
    number = np.asarray(found["image"][..., 0]) * BATCH
    for index, (image, target) in enumerate(zip(number, np.asarray(found["target"]), strict=True)):
        own, other = image == index, image == BATCH - 1 - index
        assert (own | other).all()
        assert np.array_equal(target[[index, BATCH - 1 - index]], [own.mean(), other.mean()])  # of 128: exact
        assert np.array_equal(other, other.any(1)[:, None] & other.any(0)[None])  # a rectangle


def test_shares_of_mixing_are_beta_distributed():
    batch = draw(16, count=4000, shape=(1, 1, 1))
    batch["label"] = (np.arange(4000) >= 2000).astype(np.int32)
    for alpha in (0.2, 1.0):
        share = apply(batch, MixUp(alpha))[1][np.arange(4000), batch["label"]]
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# RandAugment and Pillow.


def one_image(seed=20, low=20, high=230):
    return np.random.default_rng(seed).integers(low, high, (9, 8, 3), dtype=np.uint8)


def change(function, pixels, strength):
    image = jnp.asarray(pixels, jnp.float32) / 255
    return np.clip(np.asarray(jax.jit(function)(image, jnp.float32(strength))), 0, 1) * 255


@pytest.mark.parametrize("function", CHANGES, ids=lambda function: function.__name__)
def test_changes_of_strength_0_are_the_identity(function):
    """All, posterising included, as bytes have 8 bits, but the stretch, which has no strength."""
    low = 17 if function is rand_augment.auto_contrast else 0
    pixels = np.concatenate([np.arange(256), np.arange(32)]).reshape(12, 8, 3).astype(np.uint8)
    found = change(function, np.maximum(pixels, low), 0)
    expected = (np.maximum(pixels, low) - low) * (255 / (pixels.max((0, 1)) - low))
    np.testing.assert_allclose(found, expected if low else pixels, atol=1e-4)


@pytest.mark.parametrize("strength", [-0.9, -0.3, 0.3, 1.0])
@pytest.mark.parametrize(
    ("function", "pillow"),
    [
        (rand_augment.brightness, ImageEnhance.Brightness),
        (rand_augment.contrast, ImageEnhance.Contrast),
        (rand_augment.colour, ImageEnhance.Color),
    ],
)
def test_enhancements_are_pillows_to_rounding(function, pillow, strength):
    pixels = one_image()
    expected = np.asarray(pillow(Image.fromarray(pixels)).enhance(1 + 0.9 * strength))
    np.testing.assert_allclose(change(function, pixels, strength), expected, atol=1.6)  # Pillow's greys are rounded


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.25, 0.9, 1.0])
def test_solarize_and_auto_contrast_are_pillows(strength):
    pixels = one_image()
    threshold = int(np.floor(255 * np.float32(1 - abs(strength)))) + 1  # Pillow inverts from its threshold on
    expected = np.asarray(ImageOps.solarize(Image.fromarray(pixels), threshold))
    np.testing.assert_allclose(change(rand_augment.solarize, pixels, strength), expected, atol=1e-4)
    stretched = np.asarray(ImageOps.autocontrast(Image.fromarray(pixels)))
    np.testing.assert_allclose(change(rand_augment.auto_contrast, pixels, strength), stretched, atol=1.0)


@pytest.mark.parametrize(("strength", "bits"), [(0.0, 8), (0.25, 7), (-0.5, 6), (1.0, 4)])
def test_posterize_keeps_the_upper_bits_and_the_whole_range(strength, bits):
    """The levels are Pillow's, stretched to reach from black to white (Pillow's brightest loses its lower bits)."""
    pixels = np.arange(255, -1, -1, dtype=np.uint8).reshape(16, 16, 1)
    levels = np.asarray(ImageOps.posterize(Image.fromarray(pixels[..., 0]), bits))[..., None] >> (8 - bits)
    found = change(rand_augment.posterize, pixels, strength)
    np.testing.assert_allclose(found, levels * (255 / (2**bits - 1)), atol=1e-3)


def test_a_flat_image_has_no_contrast_to_stretch():
    flat = np.full((4, 4, 3), 77, np.uint8)
    for function in (rand_augment.auto_contrast, rand_augment.contrast, rand_augment.sharpness, rand_augment.colour):
        np.testing.assert_allclose(change(function, flat, 1.0), flat, atol=1e-3)


def test_signs_of_shears_and_moves_are_opposite():
    pixels = one_image()
    for across in (rand_augment.translate_x, rand_augment.shear_x, rand_augment.rotate):
        there, back = change(across, pixels, 0.6), change(across, pixels[:, ::-1], -0.6)[:, ::-1]
        np.testing.assert_allclose(there, back, atol=1e-3)
    moved = change(rand_augment.translate_y, pixels, 1.0)  # a third of 9 rows
    np.testing.assert_allclose(moved, np.pad(pixels, ((3, 0), (0, 0), (0, 0)))[:9], atol=1e-3)


def test_every_change_is_drawn():
    """Strength 0 leaves bytes alone but for the contrast, which a thirteenth of the images is given."""
    batch = draw(17, count=2000, shape=(2, 2, 1))
    found = apply(batch, RandAugment(count=1, magnitude=0.0))[0]
    share = (abs(found - batch["image"]).max((1, 2, 3)) > 1e-3).mean()
    assert share == pytest.approx(1 / len(CHANGES), abs=4 * (1 / 13 / 2000) ** 0.5)


# Within a training step.

DATA = Digits(batch=16, augment=(RandomCrop(1), HorizontalFlip(), RandomErasing(0.5), MixUp(), CutMix()))


def test_evaluation_and_no_operations_leave_batches_alone():
    held = DATA.eval()[0]
    assert set(held) == {"image", "label", "mask"}
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
    params = model.init(jax.random.key(0), DATA.example())["params"]
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
    params = model.init(jax.random.key(0), DATA.example())["params"]
    _, metrics, _ = jax.jit(plain)(params, {}, batch, jax.random.key(1))
    assert metrics["loss"].total != gradients(1)[1]["loss"].total
