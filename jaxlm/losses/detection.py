"""Boxes and their classes at every place of an image: focal loss, generalised IoU and centredness.

B batch, P places, N boxes of a row, K classes. A box is (left, top, right, bottom) in pixels.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, PyTree


@dataclass(frozen=True)
class Detection:
    """Spec of the loss of a detector such as `jaxlm.models.fcos.FCOS` (Tian et al. 2019, arXiv:1904.01355, section 3).

    Attributes:
        reach: the size of boxes of each level: a box belongs to the first level whose number is at least the largest
            distance from a place to its sides, in pixels, and to the last one where none is.
        radius: places in each direction around the centre of a box that are to find it.
        alpha: weight of a class that is there in the focal loss (Lin et al. 2017, arXiv:1708.02002).
        gamma: exponent of the focal loss.
        boxes: weight of the loss of boxes.
    """

    reach: tuple[float, ...] = (64.0, 128.0)
    radius: float = 1.5
    alpha: float = 0.25
    gamma: float = 2.0
    boxes: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        numbers = (*self.reach, self.radius, self.gamma, self.boxes)
        if not all(math.isfinite(x) and x >= 0 for x in numbers) or list(self.reach) != sorted(self.reach):
            raise BadInput(f"loss is {self}: give finite numbers of at least 0, and reach in ascending order")
        if not 0 < self.alpha < 1:
            raise BadInput(f"loss.alpha is {self.alpha}: give a share between 0 and 1")

    def __call__(self, model: Any) -> LossFn:
        """Return the loss.

        Raises:
            BadInput: `reach` is for another number of levels than the model has.
        """
        levels = len(model.widths) - 1
        if len(self.reach) != levels - 1:
            raise BadInput(f"loss.reach is {self.reach}: a model of {levels} levels needs {levels - 1} numbers")
        return detection(model, self)


class Targets(NamedTuple):
    """What each place is to say.

    Attributes:
        classes_BP: int32, -1 where no box belongs to the place.
        distances_BP4: float32, from the place to the sides of its box.
        centre_BP: float32, from 0 at the edge of the box to 1 in its centre (equation 3).
    """

    classes_BP: jax.Array
    distances_BP4: jax.Array
    centre_BP: jax.Array


def assign(
    at_P2: jax.Array, strides_P: jax.Array, boxes_BN4: jax.Array, classes_BN: jax.Array, spec: Detection
) -> Targets:
    """Give each place the smallest box of its level that it is near the centre of.

    Args:
        at_P2: x and y of the places.
        strides_P: of their levels.
        boxes_BN4: the boxes.
        classes_BN: int32; -1: no box.
        spec: see `Detection`.
    """
    x_11P, y_11P = (at_P2[None, None, :, axis] for axis in (0, 1))
    left, top, right, bottom = (boxes_BN4[..., side, None] for side in range(4))
    distances_BNP4 = jnp.stack([x_11P - left, y_11P - top, right - x_11P, bottom - y_11P], -1)
    levels = jnp.asarray([0.0, *spec.reach, jnp.inf])
    strides = jnp.unique(strides_P, size=len(spec.reach) + 1, fill_value=0)
    level_P = jnp.searchsorted(strides, strides_P)
    largest_BNP = distances_BNP4.max(-1)
    fits_BNP = (largest_BNP > levels[level_P][None, None]) & (largest_BNP <= levels[level_P + 1][None, None])
    away_BNP = jnp.maximum(jnp.abs(x_11P - (left + right) / 2), jnp.abs(y_11P - (top + bottom) / 2))
    near_BNP = away_BNP <= spec.radius * strides_P[None, None]
    there_BN1 = (classes_BN >= 0)[..., None]
    chosen_BNP = fits_BNP & near_BNP & (distances_BNP4.min(-1) > 0) & there_BN1
    area_BNP = jnp.where(chosen_BNP, (right - left) * (bottom - top), jnp.inf)
    best_BP = area_BNP.argmin(1)
    classes_BP = jnp.where(chosen_BNP.any(1), jnp.take_along_axis(classes_BN, best_BP, 1), -1)
    distances_BP4 = jnp.take_along_axis(distances_BNP4, best_BP[:, None, :, None], 1)[:, 0]
    distances_BP4 = jnp.where((classes_BP >= 0)[..., None], distances_BP4, 1.0)
    return Targets(classes_BP, distances_BP4, centredness(distances_BP4))


def centredness(distances_BP4: jax.Array) -> jax.Array:
    """Return the root of the product of the ratios of opposite distances, [B, P]."""
    left, top, right, bottom = jnp.moveaxis(distances_BP4, -1, 0)
    across, down = (jnp.minimum(a, b) / jnp.maximum(a, b) for a, b in ((left, right), (top, bottom)))
    return jnp.sqrt(across * down)


def generalised_iou(one_BP4: jax.Array, other_BP4: jax.Array) -> jax.Array:
    """Return the generalised IoU of boxes around one place, -1 to 1 (Rezatofighi et al. 2019, arXiv:1902.09630).

    Args:
        one_BP4: distances to left, top, right and bottom, above 0.
        other_BP4: the same of the other box.
    """

    def area(distances_BP4: jax.Array) -> jax.Array:
        left, top, right, bottom = jnp.moveaxis(distances_BP4, -1, 0)
        return (left + right) * (top + bottom)

    shared, around = area(jnp.minimum(one_BP4, other_BP4)), area(jnp.maximum(one_BP4, other_BP4))
    union = area(one_BP4) + area(other_BP4) - shared
    return shared / union - (around - union) / around


def detection(model: Any, spec: Detection) -> LossFn:
    """Return the loss of classes, boxes and centredness, each summed and divided by the places that have a box.

    The batch has "image" float32 (B, H, W, C); "boxes" float32 (B, N, 4); "classes" int32 (B, N), -1 where there is no
    box; and optional "crowd" bool (B, N), boxes that are not trained on, and "mask" float32 (B,). The sums of all
    three have one denominator, in which an image without such a place counts as one, so that its background is trained
    on and gradients do not depend on micro-batches or devices. Metrics are "loss" and its parts, "class_loss",
    "box_loss" and "centre_loss".

    Args:
        model: called with images; gives `jaxlm.models.fcos.Places`.
        spec: see `Detection`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        rngs = {"dropout": key} if train else None
        places = model.apply({"params": params, **variables}, batch["image"], train=train, rngs=rngs)
        classes_BN = jnp.where(batch["crowd"], -1, batch["classes"]) if "crowd" in batch else batch["classes"]
        targets = assign(places.at_P2, places.strides_P, batch["boxes"], classes_BN, spec)
        mask_B = batch.get("mask", jnp.ones(len(classes_BN)))
        there_BP = targets.classes_BP >= 0
        positive_BP = there_BP * mask_B[:, None]
        hot_BPK = jax.nn.one_hot(targets.classes_BP, places.logits_BPK.shape[-1])
        of_classes_BPK = optax.sigmoid_focal_loss(places.logits_BPK, hot_BPK, alpha=spec.alpha, gamma=spec.gamma)
        of_boxes_BP = 1 - generalised_iou(places.distances_BP4, targets.distances_BP4)
        of_centre_BP = optax.sigmoid_binary_cross_entropy(places.centre_BP, targets.centre_BP)
        sums = {
            "class_loss": (of_classes_BPK * mask_B[:, None, None]).sum(),
            "box_loss": spec.boxes * (of_boxes_BP * positive_BP).sum(),
            "centre_loss": (of_centre_BP * positive_BP).sum(),
        }
        count = (jnp.maximum(there_BP.sum(1), 1) * mask_B).sum()
        return {name: Mean(x, count) for name, x in {"loss": sum(sums.values()), **sums}.items()}, variables

    return loss
