"""From what a detector says to boxes: the surest ones, each object once.

B batch, P places, Q queries, K classes, M boxes. A box is (left, top, right, bottom) in pixels.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput


class Detections(NamedTuple):
    """Boxes of each image, the surest first.

    Attributes:
        boxes_BM4: float32.
        scores_BM: float32, from 0 to 1; 0 where there is no box.
        classes_BM: int32.
    """

    boxes_BM4: jax.Array
    scores_BM: jax.Array
    classes_BM: jax.Array


@dataclass(frozen=True)
class Detect:
    """Spec of how boxes are chosen of what a model such as `jaxlm.models.fcos.FCOS` says of each place.

    Attributes:
        score: the least that the root of the probability of a class times that of the centre must be.
        candidates: the surest pairs of a place and a class that are looked at.
        overlap: a box is left out that overlaps with a surer one of its class by a larger share (IoU) than this.
        most: boxes of an image.
    """

    score: float = 0.05
    candidates: int = 300
    overlap: float = 0.6
    most: int = 100

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if not (0 <= self.score < 1 and 0 < self.overlap <= 1 and 1 <= self.most <= self.candidates):
            raise BadInput(
                f"decode is {self}: score is from 0 to below 1, overlap above 0 and at most 1, and most from 1 to "
                "candidates"
            )

    def __call__(self, places: Any, extent_B2: jax.Array, least_B: jax.Array) -> Detections:
        """Choose the boxes of each image.

        Law: those of a row depend on the row alone.

        Args:
            places: `jaxlm.models.fcos.Places`.
            extent_B2: width and height of each image, at which boxes are cut.
            least_B: float32, the least score in each image, where it is above that of the spec.
        """
        classes = places.logits_BPK.shape[-1]
        scores_BPK = jax.nn.sigmoid(places.logits_BPK) * jax.nn.sigmoid(places.centre_BP)[..., None]
        scores_BPK = jnp.sqrt(scores_BPK)
        count = min(self.candidates, scores_BPK.shape[1] * classes)

        def choose(scores_PK: jax.Array, distances_P4: jax.Array, extent_2: jax.Array, least: jax.Array) -> Any:
            scores_C, chosen_C = jax.lax.top_k(scores_PK.reshape(-1), count)
            at_C, classes_C = chosen_C // classes, chosen_C % classes
            x_C, y_C = places.at_P2[at_C].T
            left, top, right, bottom = distances_P4[at_C].T
            edges = jnp.stack([x_C - left, y_C - top, x_C + right, y_C + bottom], -1)
            boxes_C4 = jnp.clip(edges, 0, jnp.concatenate([extent_2, extent_2])[None])
            scores_C = jnp.where(scores_C >= jnp.maximum(least, self.score), scores_C, 0.0)
            kept_C = suppress(boxes_C4, scores_C, classes_C, self.overlap)
            best_M = jax.lax.top_k(jnp.where(kept_C, scores_C, 0.0), min(self.most, count))[1]
            return Detections(boxes_C4[best_M], jnp.where(kept_C, scores_C, 0.0)[best_M], classes_C[best_M])

        return jax.vmap(choose)(scores_BPK, places.distances_BP4, extent_B2, least_B)


@dataclass(frozen=True)
class DetectSet:
    """Spec of how boxes are chosen of what each query of a model such as `jaxlm.models.detr.DETR` says.

    No box is suppressed: a set has each object once.

    Attributes:
        score: the least probability of a class.
        most: boxes of an image.
    """

    score: float = 0.05
    most: int = 100

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if not (0 <= self.score < 1 and self.most >= 1):
            raise BadInput(f"decode is {self}: score is from 0 to below 1, and most at least 1")

    def __call__(self, found: Any, extent_B2: jax.Array, least_B: jax.Array) -> Detections:
        """Choose the boxes of each image; see `Detect`. Law: those of a row depend on the row alone.

        Args:
            found: `jaxlm.models.detr.BoxSet`, of which the last layer is read.
            extent_B2: width and height of each image, at which boxes are cut.
            least_B: float32, the least score in each image, where it is above that of the spec.
        """
        shares_BQK = jax.nn.softmax(found.logits_LBQK[-1])[..., :-1]
        scores_BQ, classes_BQ = shares_BQK.max(-1), shares_BQK.argmax(-1).astype(jnp.int32)
        scores_BQ = jnp.where(scores_BQ >= jnp.maximum(least_B, self.score)[:, None], scores_BQ, 0.0)
        centre_BQ2, size_BQ2 = jnp.split(found.boxes_LBQ4[-1], 2, -1)
        edges_BQ4 = jnp.concatenate([centre_BQ2 - size_BQ2 / 2, centre_BQ2 + size_BQ2 / 2], -1)
        boxes_BQ4 = edges_BQ4 * jnp.concatenate([found.canvas_2, found.canvas_2])[None, None]
        boxes_BQ4 = jnp.clip(boxes_BQ4, 0, jnp.concatenate([extent_B2, extent_B2], -1)[:, None])
        scores_BM, best_BM = jax.lax.top_k(scores_BQ, min(self.most, scores_BQ.shape[1]))
        boxes_BM4 = jnp.take_along_axis(boxes_BQ4, best_BM[..., None], 1)
        return Detections(boxes_BM4, scores_BM, jnp.take_along_axis(classes_BQ, best_BM, 1))


def overlaps(one_M4: jax.Array, other_N4: jax.Array) -> jax.Array:
    """Return the intersection over union of each pair of boxes, [M, N]; 0 for boxes without area."""
    low_MN2 = jnp.maximum(one_M4[:, None, :2], other_N4[None, :, :2])
    high_MN2 = jnp.minimum(one_M4[:, None, 2:], other_N4[None, :, 2:])
    shared_MN = jnp.maximum(high_MN2 - low_MN2, 0).prod(-1)
    area_M, area_N = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one_M4, other_N4))
    return shared_MN / jnp.maximum(area_M[:, None] + area_N[None] - shared_MN, 1e-9)


def suppress(boxes_C4: jax.Array, scores_C: jax.Array, classes_C: jax.Array, overlap: float) -> jax.Array:
    """Return which boxes are kept by non-maximum suppression within each class, bool [C].

    Args:
        boxes_C4: the surest first.
        scores_C: descending; a box of score 0 is not kept.
        classes_C: integers.
        overlap: see `Detect`.
    """
    rivals_CC = (overlaps(boxes_C4, boxes_C4) > overlap) & (classes_C[:, None] == classes_C[None])

    def decide(number: jax.Array, kept_C: jax.Array) -> jax.Array:
        beaten = (rivals_CC[number] & kept_C & (jnp.arange(len(kept_C)) < number)).any()
        return kept_C.at[number].set(kept_C[number] & ~beaten)

    return jax.lax.fori_loop(0, len(scores_C), decide, scores_C > 0)
