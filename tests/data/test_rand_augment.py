"""RandAugment's changes of an image, against Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented import apply, draw
from PIL import Image, ImageEnhance, ImageOps

from jaxlm.data.images import rand_augment
from jaxlm.data.images.rand_augment import CHANGES, RandAugment


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
    for across in (rand_augment.translate_x, rand_augment.shear_x, rand_augment.rotate_image):
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
