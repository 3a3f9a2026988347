"""Random changes of images on the device: pure functions of a batch that carries its own random words.

Each operation is a value, called with images float32 [B, H, W, C] in [0, 1], targets float32 [B, K] and keys [B], one
for each example, and returns images and targets. An example's key comes from its "draws", so the outcome is a function
of (seed, update, example): neither micro-batches nor devices nor workers change it. Only `MixUp` and `CutMix` look at
another example, the one at the mirrored place of the batch (under `pmap`, of the device's part of it).

B batch, H height, W width, C channels, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


class Operation(Protocol):
    """A random change of images, and of targets where images are mixed."""

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""


def augment(operations: tuple[Operation, ...], classes: int, batch: dict[str, Any]) -> dict[str, Any]:
    """Apply operations in turn to a batch with "image", "label" and "draws"; "target" float32 [B, K] is added.

    Images come as uint8 or as floats in [0, 1], and leave as float32 in [0, 1].
    """
    images, targets = as_float(batch["image"]), jax.nn.one_hot(batch["label"], classes)
    keys = jax.random.wrap_key_data(batch["draws"], impl="threefry2x32")
    for number, operation in enumerate(operations):
        images, targets = operation(images, targets, jax.vmap(jax.random.fold_in, (0, None))(keys, number))
    return {**batch, "image": images, "target": targets}


def as_float(images: jax.Array) -> jax.Array:
    """Images in [0, 1], float32."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def normalise(images_BHWC: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Images, uint8 or in [0, 1], minus the mean and over the standard deviation of each channel; float32."""
    shape = (1, 1, 1, -1)
    return (as_float(images_BHWC) - jnp.asarray(mean).reshape(shape)) / jnp.asarray(std).reshape(shape)


def uniform(keys_B: jax.Array, low: float = 0.0, high: float = 1.0, *, number: int = 0) -> jax.Array:
    """One number in [low, high) for each key, float32 [B]; `number` tells the draws of an operation apart."""
    return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, number), (), minval=low, maxval=high))(
        keys_B
    )


def along_batch(values_B: jax.Array) -> jax.Array:
    """Values [B] as [B, 1, 1, 1]."""
    return values_B[:, None, None, None]


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror left and right, with this probability."""

    probability: float = 0.5

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        chosen_B = uniform(keys_B) < self.probability
        return jnp.where(along_batch(chosen_B), images_BHWC[:, :, ::-1], images_BHWC), targets_BK


@dataclass(frozen=True)
class RandomCrop:
    """Pad with `padding` black pixels on each side and cut out a square of `size` (None: the old size) at random.

    A smaller size makes training cheaper; a network with global pooling still evaluates whole images.
    """

    padding: int = 4
    size: int | None = None

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        margin = (self.padding, self.padding)
        padded = jnp.pad(images_BHWC, ((0, 0), margin, margin, (0, 0)))
        height, width, channels = images_BHWC.shape[1:]
        shape = (self.size or height, self.size or width, channels)
        room = jnp.asarray(padded.shape[1:3]) - jnp.asarray(shape[:2])
        corners_B2 = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, room + 1))(keys_B)

        def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

        return jax.vmap(cut)(padded, corners_B2), targets_BK


@dataclass(frozen=True)
class RandomAffine:
    """Turn by up to `degrees`, move by up to a share `translate` of the size, scale within 1 +- `scale`."""

    degrees: float = 10.0
    translate: float = 0.1
    scale: float = 0.1

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        height, width = images_BHWC.shape[1:3]
        angle_B = jnp.deg2rad(uniform(keys_B, -self.degrees, self.degrees, number=0))
        down_B = uniform(keys_B, -self.translate, self.translate, number=1) * height
        across_B = uniform(keys_B, -self.translate, self.translate, number=2) * width
        size_B = 1 / uniform(keys_B, 1 - self.scale, 1 + self.scale, number=3)

        def one(image: jax.Array, angle: jax.Array, size: jax.Array, down: jax.Array, across: jax.Array) -> jax.Array:
            return warp(image, jax.tree.map(lambda x: size * x, rotation(angle)), (down, across))

        return jax.vmap(one)(images_BHWC, angle_B, size_B, down_B, across_B), targets_BK


def warp(image_HWC: jax.Array, matrix: Any, move: Any) -> jax.Array:
    """An image whose pixel at p = (y, x) from its centre is the old one at `matrix p - move`; matrix (2, 2), move (2,).

    Pixels are interpolated between their four neighbours; what comes from outside is black.
    """
    height, width = image_HWC.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y_HW, x_HW = jnp.meshgrid(jnp.arange(height) - centre_y, jnp.arange(width) - centre_x, indexing="ij")
    from_y = matrix[0][0] * y_HW + matrix[0][1] * x_HW - move[0] + centre_y
    from_x = matrix[1][0] * y_HW + matrix[1][1] * x_HW - move[1] + centre_x

    def plane(pixels_HW: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(pixels_HW, [from_y, from_x], order=1)

    return jax.vmap(plane, in_axes=-1, out_axes=-1)(image_HWC)


def rotation(angle: jax.Array) -> Any:
    """The matrix that turns (y, x) by an angle in radians."""
    return ((jnp.cos(angle), -jnp.sin(angle)), (jnp.sin(angle), jnp.cos(angle)))


@dataclass(frozen=True)
class RandomErasing:
    """Fill a random rectangle with `value`, with this probability (Zhong et al. 2020, arXiv:1708.04896, algorithm 1).

    Its area is 2 to 33 % of the image and its aspect 0.3 to 3.3; what sticks out of the image is cut off.
    """

    probability: float = 0.25
    value: float = 0.5

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        height, width = images_BHWC.shape[1:3]
        area_B = uniform(keys_B, 0.02, 0.33, number=1) * height * width
        aspect_B = jnp.exp(uniform(keys_B, math.log(0.3), math.log(3.3), number=2))
        inside_BHW = rectangle(keys_B, jnp.sqrt(area_B * aspect_B), jnp.sqrt(area_B / aspect_B), height, width)
        chosen_BHW = inside_BHW & (uniform(keys_B) < self.probability)[:, None, None]
        return jnp.where(chosen_BHW[..., None], self.value, images_BHWC), targets_BK


def rectangle(keys_B: jax.Array, high_B: jax.Array, wide_B: jax.Array, height: int, width: int) -> jax.Array:
    """Which pixels lie in a rectangle of that size around a random centre, bool [B, H, W]."""

    def between(centre_B: jax.Array, size_B: jax.Array, count: int) -> jax.Array:
        return jnp.abs(jnp.arange(count)[None] + 0.5 - centre_B[:, None]) < size_B[:, None] / 2

    rows_BH = between(uniform(keys_B, number=11) * height, high_B, height)
    columns_BW = between(uniform(keys_B, number=12) * width, wide_B, width)
    return rows_BH[:, :, None] & columns_BW[:, None, :]


@dataclass(frozen=True)
class MixUp:
    """Blend each image and its target with those at the mirrored place of the batch (Zhang et al. 2018, eq. 1).

    arXiv:1710.09412. The share of the image itself is drawn for each example from Beta(alpha, alpha).
    """

    alpha: float = 0.2

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        share_B = jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys_B)
        return _blend(images_BHWC, along_batch(share_B)), _blend(targets_BK, share_B[:, None])


def _blend(x: jax.Array, share: jax.Array) -> jax.Array:
    return share * x + (1 - share) * x[::-1]


@dataclass(frozen=True)
class CutMix:
    """Paste a rectangle of the image at the mirrored place of the batch; targets mix by area (Yun et al. 2019).

    arXiv:1905.04899, equations 1 and 2. The area is drawn from Beta(alpha, alpha) for each example.
    """

    alpha: float = 1.0

    def __call__(self, images_BHWC: jax.Array, targets_BK: jax.Array, keys_B: jax.Array) -> Pair:
        """Return images and targets."""
        height, width = images_BHWC.shape[1:3]
        share_B = jnp.sqrt(1 - jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys_B))
        inside_BHW = rectangle(keys_B, share_B * height, share_B * width, height, width)
        kept_B1 = 1 - inside_BHW.astype(jnp.float32).mean((1, 2))[:, None]
        mixed = jnp.where(inside_BHW[..., None], images_BHWC[::-1], images_BHWC)
        return mixed, kept_B1 * targets_BK + (1 - kept_B1) * targets_BK[::-1]
