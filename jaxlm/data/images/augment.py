"""Data augmentation on the device: pure functions of a batch of images and a PRNG key for each of them.

Each operation is a value, called with images float32 [B, H, W, C] in [0, 1], targets float32 [B, K] and keys [B], and
returns images and targets. The keys are those of the batch (see `jaxlm.data.keys`), so the result is a function of
(seed, update, example), whatever the micro-batches, devices and workers. Only `MixUp` and `CutMix` read another
example: the one at the mirrored position of the batch (under `pmap`, of the device's part of it).

B batch, H height, W width, C channels, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps.keys import typed_keys

ImagesAndTargets = tuple[jax.Array, jax.Array]


class Operation(Protocol):
    """A random operation on images, and on targets where images are mixed."""

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""


def check_field(operation: Any, name: str, fits: bool, what: str) -> None:
    """Raise BadInput unless a field of an operation fits, since images or targets would be NaN or not what it says."""
    if not fits:
        raise BadInput(f"{type(operation).__name__}.{name} is {getattr(operation, name)}: give {what}")


def augment(operations: tuple[Operation, ...], classes: int, batch: dict[str, Any]) -> dict[str, Any]:
    """Apply random operations to a batch of images, one after the other.

    Args:
        operations: each gets keys of its own, from the keys of the batch and its position in this tuple.
        classes: K.
        batch: "image" uint8, or float in [0, 1], [B, H, W, C]; "label" int32 [B]; "keys" uint32 [B, 2].

    Returns:
        The batch with "image" float32 in [0, 1], and "target" float32 [B, K], one-hot labels mixed with the images.
    """
    images, targets = as_float(batch["image"]), jax.nn.one_hot(batch["label"], classes)
    keys = typed_keys(batch["keys"])
    for number, operation in enumerate(operations):
        images, targets = operation(images, targets, jax.vmap(jax.random.fold_in, (0, None))(keys, number))
    return {**batch, "image": images, "target": targets}


def as_float(images: jax.Array) -> jax.Array:
    """Return images, uint8 or in [0, 1], as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def normalise(images_BHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        images_BHWC: uint8, or float in [0, 1].
        mean: of the channels in [0, 1]: one number for all, or one for each.
        std: in the same form.

    Returns:
        float32 [B, H, W, C].
    """
    shape = (1, 1, 1, -1)
    return (as_float(images_BHWC) - jnp.asarray(mean).reshape(shape)) / jnp.asarray(std).reshape(shape)


def uniform(keys_B: jax.Array, low: float = 0.0, high: float = 1.0, *, number: int = 0) -> jax.Array:
    """Draw a number in [low, high) from each key; `number` separates the draws of one operation. float32 [B]."""
    return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, number), (), minval=low, maxval=high))(
        keys_B
    )


def along_batch(values_B: jax.Array) -> jax.Array:
    """Return values [B] as [B, 1, 1, 1]."""
    return values_B[:, None, None, None]


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror images left to right, each with this probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "probability", 0 <= self.probability <= 1, "a probability from 0 to 1")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        chosen_B = uniform(keys_B) < self.probability
        return jnp.where(along_batch(chosen_B), images_BHWC[:, :, ::-1], images_BHWC), targets_BK


@dataclass(frozen=True)
class RandomCrop:
    """Pad images with black and crop them at a random position.

    A smaller size makes training cheaper; a network with global pooling still evaluates whole images.

    Attributes:
        padding: pixels on each side.
        size: height and width of the crop; None: those of the image.
    """

    padding: int = 4
    size: int | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "padding", self.padding >= 0, "0 or more pixels")
        check_field(self, "size", self.size is None or self.size >= 1, "at least 1 pixel, or None")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        margin = (self.padding, self.padding)
        padded = jnp.pad(images_BHWC, ((0, 0), margin, margin, (0, 0)))
        height, width, channels = images_BHWC.shape[1:]
        shape = (self.size or height, self.size or width, channels)
        fits = max(shape[0] - height, shape[1] - width) <= 2 * self.padding
        check_field(self, "size", fits, f"at most that of the padded images, {min(height, width) + 2 * self.padding}")
        room = jnp.asarray(padded.shape[1:3]) - jnp.asarray(shape[:2])
        corners_B2 = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room + 1))(keys_B)

        def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

        return jax.vmap(cut)(padded, corners_B2), targets_BK


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, shift and scale images at random.

    Attributes:
        degrees: the largest rotation, to either side.
        translate: the largest shift, as a fraction of height and width.
        scale: the scale is within 1 - `scale` and 1 + `scale`.
    """

    degrees: float = 10.0
    translate: float = 0.1
    scale: float = 0.1

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "degrees", 0 <= self.degrees <= 180, "an angle from 0 to 180")
        check_field(self, "translate", 0 <= self.translate <= 1, "a fraction from 0 to 1")
        check_field(self, "scale", 0 <= self.scale < 1, "a fraction from 0 to below 1")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        height, width = images_BHWC.shape[1:3]
        angle_B = jnp.deg2rad(uniform(keys_B, -self.degrees, self.degrees, number=0))
        down_B = uniform(keys_B, -self.translate, self.translate, number=1) * height
        across_B = uniform(keys_B, -self.translate, self.translate, number=2) * width
        size_B = 1 / uniform(keys_B, 1 - self.scale, 1 + self.scale, number=3)

        def one(image: jax.Array, angle: jax.Array, size: jax.Array, down: jax.Array, across: jax.Array) -> jax.Array:
            return warp(image, jax.tree.map(lambda x: size * x, rotation_matrix(angle)), (down, across))

        return jax.vmap(one)(images_BHWC, angle_B, size_B, down_B, across_B), targets_BK


def warp(image_HWC: jax.Array, matrix: Any, move: Any) -> jax.Array:
    """Transform an image by an affine map.

    The pixel at p = (y, x) from the centre is that of the old image at `matrix p - move`, interpolated between its
    four neighbours (bilinear); outside of the old image is black.

    Args:
        image_HWC: the image.
        matrix: (2, 2), for (y, x).
        move: (2,), in pixels.
    """
    height, width = image_HWC.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y_HW, x_HW = jnp.meshgrid(jnp.arange(height) - centre_y, jnp.arange(width) - centre_x, indexing="ij")
    from_y = matrix[0][0] * y_HW + matrix[0][1] * x_HW - move[0] + centre_y
    from_x = matrix[1][0] * y_HW + matrix[1][1] * x_HW - move[1] + centre_x

    def plane(pixels_HW: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(pixels_HW, [from_y, from_x], order=1)

    return jax.vmap(plane, in_axes=-1, out_axes=-1)(image_HWC)


def rotation_matrix(angle: jax.Array) -> Any:
    """Return the matrix that rotates (y, x) by an angle in radians."""
    return ((jnp.cos(angle), -jnp.sin(angle)), (jnp.sin(angle), jnp.cos(angle)))


@dataclass(frozen=True)
class RandomErasing:
    """Fill a random rectangle of each image (Zhong et al. 2020, arXiv:1708.04896, algorithm 1).

    Its area is 2 to 33 % of the image and its aspect ratio 0.3 to 3.3; parts outside of the image are cut off.

    Attributes:
        probability: how often an image gets a rectangle.
        value: what it is filled with.
    """

    probability: float = 0.25
    value: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "probability", 0 <= self.probability <= 1, "a probability from 0 to 1")
        check_field(self, "value", 0 <= self.value <= 1, "a brightness from 0 to 1")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        height, width = images_BHWC.shape[1:3]
        area_B = uniform(keys_B, 0.02, 0.33, number=1) * height * width
        aspect_B = jnp.exp(uniform(keys_B, math.log(0.3), math.log(3.3), number=2))
        inside_BHW = rectangle(keys_B, jnp.sqrt(area_B * aspect_B), jnp.sqrt(area_B / aspect_B), height, width)
        chosen_BHW = inside_BHW & (uniform(keys_B) < self.probability)[:, None, None]
        return jnp.where(chosen_BHW[..., None], self.value, images_BHWC), targets_BK


def rectangle(keys_B: jax.Array, high_B: jax.Array, wide_B: jax.Array, height: int, width: int) -> jax.Array:
    """Return a mask of a rectangle around a random centre in each image.

    Args:
        keys_B: draw the centres.
        high_B: heights in pixels.
        wide_B: widths in pixels.
        height: H.
        width: W.

    Returns:
        bool [B, H, W], True inside.
    """

    def between(centre_B: jax.Array, size_B: jax.Array, count: int) -> jax.Array:
        return jnp.abs(jnp.arange(count)[None] + 0.5 - centre_B[:, None]) < size_B[:, None] / 2

    rows_BH = between(uniform(keys_B, number=11) * height, high_B, height)
    columns_BW = between(uniform(keys_B, number=12) * width, wide_B, width)
    return rows_BH[:, :, None] & columns_BW[:, None, :]


@dataclass(frozen=True)
class MixUp:
    """Blend each image and target with those at the mirrored position of the batch (mixup).

    Zhang et al. 2018, arXiv:1710.09412, equation 1. The weight of the image itself is drawn for each example from
    Beta(alpha, alpha).
    """

    alpha: float = 0.2

    mixes: ClassVar[bool] = True  # examples with each other

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "alpha", 0 < self.alpha < math.inf, "a finite number above 0")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        share_B = jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys_B)
        return _blend(images_BHWC, along_batch(share_B)), _blend(targets_BK, share_B[:, None])


def _blend(x: jax.Array, share: jax.Array) -> jax.Array:
    return share * x + (1 - share) * x[::-1]


@dataclass(frozen=True)
class CutMix:
    """Paste a rectangle of the image at the mirrored position of the batch, and mix the targets by area (CutMix).

    Yun et al. 2019, arXiv:1905.04899, equations 1 and 2. The area is drawn for each example from Beta(alpha, alpha).
    """

    alpha: float = 1.0

    mixes: ClassVar[bool] = True  # examples with each other

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "alpha", 0 < self.alpha < math.inf, "a finite number above 0")

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> ImagesAndTargets:
        """Return images and targets after the operation."""
        height, width = images_BHWC.shape[1:3]
        share_B = jnp.sqrt(1 - jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys_B))
        inside_BHW = rectangle(keys_B, share_B * height, share_B * width, height, width)
        kept_B1 = 1 - inside_BHW.astype(jnp.float32).mean((1, 2))[:, None]
        mixed = jnp.where(inside_BHW[..., None], images_BHWC[::-1], images_BHWC)
        return mixed, kept_B1 * targets_BK + (1 - kept_B1) * targets_BK[::-1]
