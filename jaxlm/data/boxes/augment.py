"""Augmentation of images with their boxes on the device: pure functions of a batch and a PRNG key for each image.

B batch, H height, W width, C channels, N boxes. A box is (left, top, right, bottom) in pixels; the class of a row
without a box is -1. See `jaxlm.data.images.augment` for the keys.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxlm.data.images.augment import along_batch, as_float, check_field, uniform
from jaxlm.steps.keys import typed_keys


class Scene(NamedTuple):
    """Images and boxes.

    Attributes:
        image_BHWC: float32 in [0, 1].
        boxes_BN4: float32.
        classes_BN: int32.
    """

    image_BHWC: jax.Array
    boxes_BN4: jax.Array
    classes_BN: jax.Array


class BoxOperation(Protocol):
    """A random operation on images and their boxes."""

    def __call__(self, scene: Scene, keys_B: jax.Array) -> Scene:
        """Return images and boxes after the operation."""


def augment_boxes(operations: tuple[BoxOperation, ...], batch: dict[str, Any]) -> dict[str, Any]:
    """Apply random operations to a batch of images and boxes, one after the other, each with keys of its own.

    Args:
        operations: what to apply.
        batch: "image" uint8 [B, H, W, C]; "boxes"; "classes"; "keys" uint32 [B, 2].

    Returns:
        The batch with "image" float32 in [0, 1].
    """
    scene = Scene(as_float(batch["image"]), batch["boxes"], batch["classes"])
    keys_B = typed_keys(batch["keys"])
    for number, operation in enumerate(operations):
        scene = operation(scene, jax.vmap(jax.random.fold_in, (0, None))(keys_B, number))
    return {**batch, "image": scene.image_BHWC, "boxes": scene.boxes_BN4, "classes": scene.classes_BN}


@dataclass(frozen=True)
class FlipBoxes:
    """Mirror images, left to right and upside down, each with a probability.

    Attributes:
        horizontal: probability of the first.
        vertical: probability of the second, for images without an upper side, such as those of a microscope.
    """

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        for name in ("horizontal", "vertical"):
            check_field(self, name, 0 <= getattr(self, name) <= 1, "a probability from 0 to 1")

    def __call__(self, scene: Scene, keys_B: jax.Array) -> Scene:
        """Return images and boxes after the operation."""
        image_BHWC, boxes_BN4, classes_BN = scene
        _, height, width, _ = image_BHWC.shape
        left, top, right, bottom = jnp.moveaxis(boxes_BN4, -1, 0)
        across_B = uniform(keys_B, number=0) < self.horizontal
        image_BHWC = jnp.where(along_batch(across_B), image_BHWC[:, :, ::-1], image_BHWC)
        left, right = (
            jnp.where(across_B[:, None], width - other, one) for one, other in ((left, right), (right, left))
        )
        down_B = uniform(keys_B, number=1) < self.vertical
        image_BHWC = jnp.where(along_batch(down_B), image_BHWC[:, ::-1], image_BHWC)
        top, bottom = (jnp.where(down_B[:, None], height - other, one) for one, other in ((top, bottom), (bottom, top)))
        return Scene(image_BHWC, jnp.stack([left, top, right, bottom], -1), classes_BN)


@dataclass(frozen=True)
class ScaleBoxes:
    """Make images larger or smaller, and put them anywhere on their canvas, or cut them anywhere where they are larger.

    A box of which less than `visible` is left is taken out.

    Attributes:
        low: the smallest factor.
        high: the largest factor; factors are uniform between them on a logarithmic scale.
        visible: share of the area of a box that must be on the canvas.
    """

    low: float = 0.75
    high: float = 1.5
    visible: float = 0.3

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        check_field(self, "low", 0 < self.low <= self.high < 100, "numbers above 0, low not above high")
        check_field(self, "visible", 0 < self.visible <= 1, "a share above 0, at most 1")

    def __call__(self, scene: Scene, keys_B: jax.Array) -> Scene:
        """Return images and boxes after the operation."""
        image_BHWC, boxes_BN4, classes_BN = scene
        _, height, width, _ = image_BHWC.shape
        low, high = jnp.log(self.low), jnp.log(self.high)
        scale_B = jnp.exp(low + (high - low) * uniform(keys_B, number=0))
        room_B2 = jnp.array([[width, height]]) * (1 - scale_B[:, None])  # negative where the image is larger
        share_B2 = jnp.stack([uniform(keys_B, number=1), uniform(keys_B, number=2)], 1)
        move_B2 = room_B2 * share_B2

        def placed(image_HWC: jax.Array, scale: jax.Array, move_2: jax.Array) -> jax.Array:
            both = jnp.stack([scale, scale])
            return jax.image.scale_and_translate(image_HWC, image_HWC.shape, (0, 1), both, move_2[::-1], "linear")

        image_BHWC = jax.vmap(placed)(image_BHWC, scale_B, move_B2)
        moved_BN4 = boxes_BN4 * scale_B[:, None, None] + jnp.concatenate([move_B2, move_B2], 1)[:, None]
        edge_4 = jnp.array([width, height, width, height], jnp.float32)
        cut_BN4 = jnp.clip(moved_BN4, 0, edge_4[None, None])
        seen_BN = area(cut_BN4) >= self.visible * area(moved_BN4)
        return Scene(jnp.clip(image_BHWC, 0, 1), cut_BN4, jnp.where(seen_BN, classes_BN, -1))


@dataclass(frozen=True)
class Light:
    """Change the brightness and the contrast of images.

    Attributes:
        brightness: the most that is added or taken away, of 1.
        contrast: the most by which the distance from the mean grows or shrinks, as a share.
    """

    brightness: float = 0.15
    contrast: float = 0.3

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        for name in ("brightness", "contrast"):
            check_field(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")

    def __call__(self, scene: Scene, keys_B: jax.Array) -> Scene:
        """Return images and boxes after the operation."""
        image_BHWC = scene.image_BHWC
        mean_B111 = image_BHWC.mean((1, 2, 3), keepdims=True)
        factor_B = 1 + self.contrast * uniform(keys_B, -1, 1, number=0)
        added_B = self.brightness * uniform(keys_B, -1, 1, number=1)
        changed_BHWC = (image_BHWC - mean_B111) * along_batch(factor_B) + mean_B111 + along_batch(added_B)
        return scene._replace(image_BHWC=jnp.clip(changed_BHWC, 0, 1))


def area(boxes: jax.Array) -> jax.Array:
    """Return the area of boxes [..., 4], [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
