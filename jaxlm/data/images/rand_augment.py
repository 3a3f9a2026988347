"""RandAugment: a few operations of one strength, drawn for each image from a list.

H height, W width, C channels; images are float32 in [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.data.images.augment import ImagesAndTargets, check_field, rotation_matrix, warp

GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class RandAugment:
    """Apply random operations of `CHANGES` to each image.

    Cubuk et al. 2020, arXiv:1909.13719, section 3 and figure 2, without histogram equalisation. The sign of an
    operation that has one is drawn too.

    Attributes:
        count: operations for each image.
        magnitude: their strength, from 0 to 30, the widest range.
    """

    count: int = 2
    magnitude: float = 9.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "count", self.count >= 0, "0 or more operations")
        check_field(self, "magnitude", 0 <= self.magnitude <= 30, "a strength from 0 to 30")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operations."""

        def one(image: jax.Array, key: jax.Array) -> jax.Array:
            for number in range(self.count):
                which, sign = jax.random.split(jax.random.fold_in(key, number))
                strength = self.magnitude / 30 * jax.random.rademacher(sign, (), jnp.float32)
                chosen = jax.random.randint(which, (), 0, len(CHANGES))
                image = jnp.clip(jax.lax.switch(chosen, CHANGES, image, strength), 0, 1)
            return image

        return jax.vmap(one)(images_BHWC, keys_B), targets_BK


def no_change(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Return the image as it is."""
    del strength
    return image_HWC


def rotate_image(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Rotate by up to 30 degrees."""
    return warp(image_HWC, rotation_matrix(jnp.deg2rad(30.0) * strength), (0.0, 0.0))


def shear_x(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Shear along the rows by up to 0.3."""
    return warp(image_HWC, ((1.0, 0.0), (0.3 * strength, 1.0)), (0.0, 0.0))


def shear_y(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Shear along the columns by up to 0.3."""
    return warp(image_HWC, ((1.0, 0.3 * strength), (0.0, 1.0)), (0.0, 0.0))


def translate_x(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Shift horizontally by up to a third of the width."""
    return warp(image_HWC, ((1.0, 0.0), (0.0, 1.0)), (0.0, strength * image_HWC.shape[1] / 3))


def translate_y(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Shift vertically by up to a third of the height."""
    return warp(image_HWC, ((1.0, 0.0), (0.0, 1.0)), (strength * image_HWC.shape[0] / 3, 0.0))


def brightness(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Multiply the brightness by 0.1 to 1.9."""
    return image_HWC * (1 + 0.9 * strength)


def contrast(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Multiply the distance from the mean grey by 0.1 to 1.9."""
    return _away_from(_grey(image_HWC).mean(), image_HWC, strength)


def colour(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Multiply the distance from the grey image by 0.1 to 1.9."""
    return _away_from(_grey(image_HWC), image_HWC, strength)


def sharpness(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Multiply the distance from the image averaged over 3 x 3 pixels by 0.1 to 1.9."""
    height, width, _ = image_HWC.shape
    padded = jnp.pad(image_HWC, ((1, 1), (1, 1), (0, 0)), mode="edge")
    shifted: Any = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return _away_from(sum(shifted[1:], start=shifted[0]) / 9, image_HWC, strength)


def posterize(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Keep 8 to 4 bits of each channel."""
    levels = 2.0 ** jnp.round(8 - 4 * jnp.abs(strength))
    return jnp.floor(image_HWC * (levels - 1e-3)) / (levels - 1)


def solarize(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Invert pixels brighter than a threshold between 1 and 0."""
    return jnp.where(image_HWC > 1 - jnp.abs(strength), 1 - image_HWC, image_HWC)


def auto_contrast(image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    """Stretch each channel to the range [0, 1]."""
    del strength
    low, high = (reduce((0, 1), keepdims=True) for reduce in (image_HWC.min, image_HWC.max))
    return jnp.where(high > low, (image_HWC - low) / jnp.where(high > low, high - low, 1), image_HWC)


def _grey(image_HWC: jax.Array) -> jax.Array:
    if image_HWC.shape[-1] != 3:
        return image_HWC
    return (image_HWC * jnp.asarray(GREY)[None, None]).sum(-1, keepdims=True)


def _away_from(base: jax.Array, image_HWC: jax.Array, strength: jax.Array) -> jax.Array:
    return base + (image_HWC - base) * (1 + 0.9 * strength)


CHANGES = (
    no_change,
    auto_contrast,
    rotate_image,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    brightness,
    contrast,
    colour,
    sharpness,
    posterize,
    solarize,
)
