"""Flips, crops, affine maps, erasing and mixing, against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented import BATCH, apply, draw, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.images.augment import (
    CutMix,
    HorizontalFlip,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    augment,
    rotation_matrix,
    warp,
)

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
    """A positive angle of `rotation_matrix` turns the picture with the clock, other than `np.rot90` does.

    Points a hair outside of the image are blended with black, so its border may lose a millionth.
    """
    image = draw(11, 1, (size, size, 3))["image"][0]
    found = warp(image, rotation_matrix(jnp.float32(quarters * np.pi / 2)), (0.0, 0.0))
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
