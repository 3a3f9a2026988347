"""Boxes as a set: each true box is matched to one query of a detector, and all other queries are to say "nothing".

B batch, L layers of a decoder, N boxes of a row, Q queries, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True)
class SetPrediction:
    """Spec of the loss of a detector such as `jaxlm.models.detr.DETR` (Carion et al. 2020, arXiv:2005.12872).

    Attributes:
        absent: weight of the class "no object", since most queries have none.
        distance: weight of the distance of boxes, the sum of the four differences of centre and size, in shares of the
            image; in the cost of a match too.
        overlap: weight of 1 - generalised IoU; in the cost of a match too.
    """

    absent: float = 0.1
    distance: float = 5.0
    overlap: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        for name in ("absent", "distance", "overlap"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise BadInput(f"loss.{name} is {getattr(self, name)}: give a finite number of at least 0")

    def __call__(self, model: Model) -> LossFn:
        """Return the loss."""
        return set_prediction(model, self)


def set_prediction(model: Any, spec: SetPrediction) -> LossFn:
    """Return the loss of classes and boxes of the best match, summed over boxes and divided by their number.

    The batch has "image" float32 (B, H, W, C); "boxes" float32 (B, N, 4), left, top, right and bottom in pixels;
    "classes" int32 (B, N), -1 where there is no box; and optional "crowd" bool (B, N), boxes that are not trained on,
    and "mask" float32 (B,). Every layer of the decoder is matched and trained by itself (the paper's auxiliary losses),
    and the mean over layers is taken. All sums have one denominator, in which an image without a box counts as one, so
    gradients do not depend on micro-batches or devices. Metrics are "loss" and its parts, "class_loss", "distance_loss"
    and "overlap_loss".

    Laws: the order of boxes in a row, and how far it is filled up, do not matter.

    Args:
        model: called with images; gives `jaxlm.models.detr.BoxSet`.
        spec: see `SetPrediction`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        rngs = {"dropout": key} if train else None
        found = model.apply({"params": params, **variables}, batch["image"], train=train, rngs=rngs)
        classes_BN = jnp.where(batch["crowd"], -1, batch["classes"]) if "crowd" in batch else batch["classes"]
        layers, _, queries, outputs = found.logits_LBQK.shape
        if classes_BN.shape[1] > queries:
            raise BadInput(
                f"rows have room for {classes_BN.shape[1]} boxes and the model has {queries} queries: add some"
            )
        there_BN = classes_BN >= 0
        boxes_BN4 = centred(batch["boxes"], found.canvas_2)
        costs_LBNQ = match_costs(found.logits_LBQK, found.boxes_LBQ4, classes_BN, boxes_BN4, spec)
        query_LBN = match(jax.lax.stop_gradient(costs_LBNQ), there_BN)

        mask_1B1 = batch.get("mask", jnp.ones(len(classes_BN)))[None, :, None]
        target_LBQ = class_targets(query_LBN, jnp.where(there_BN, classes_BN, outputs - 1), queries, outputs - 1)
        nats_LBQ = optax.softmax_cross_entropy_with_integer_labels(found.logits_LBQK, target_LBQ)
        nats_LBQ = nats_LBQ * jnp.where(target_LBQ == outputs - 1, spec.absent, 1.0)
        matched_LBN4 = jnp.take_along_axis(found.boxes_LBQ4, query_LBN[..., None], 2)
        weight_1BN = there_BN[None] * mask_1B1
        away_LBN = jnp.abs(matched_LBN4 - boxes_BN4[None]).sum(-1)
        sums = {
            "class_loss": (nats_LBQ * mask_1B1).sum() / layers,
            "distance_loss": spec.distance * (away_LBN * weight_1BN).sum() / layers,
            "overlap_loss": spec.overlap * ((1 - box_giou(matched_LBN4, boxes_BN4[None])) * weight_1BN).sum() / layers,
        }
        count = (jnp.maximum(there_BN.sum(1), 1) * mask_1B1[0, :, 0]).sum()
        return {name: Mean(x, count) for name, x in {"loss": sum(sums.values()), **sums}.items()}, variables

    return loss


def class_targets(query_LBN: jax.Array, classes_BN: jax.Array, queries: int, absent: int) -> jax.Array:
    """Return the class that each query is to say, int32 [L, B, Q]: that of its box, and `absent` for all others."""
    layers, batch, _ = query_LBN.shape
    rows = jnp.arange(layers)[:, None, None], jnp.arange(batch)[None, :, None]
    nothing_LBQ = jnp.full((layers, batch, queries), absent)
    return nothing_LBQ.at[(*rows, query_LBN)].set(jnp.broadcast_to(classes_BN[None], query_LBN.shape))


def centred(boxes_BN4: jax.Array, canvas_2: jax.Array) -> jax.Array:
    """Return boxes (left, top, right, bottom) in pixels as (centre x, centre y, width, height), shares of the image."""
    low, high = (corner / canvas_2[None, None] for corner in jnp.split(boxes_BN4, 2, -1))
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def match_costs(
    logits_LBQK: jax.Array, boxes_LBQ4: jax.Array, classes_BN: jax.Array, truth_BN4: jax.Array, spec: SetPrediction
) -> jax.Array:
    """Return what it costs to match each box with each query, [L, B, N, Q] (section 3.1, L_match).

    Minus the probability of the box's class, plus the weighted distance and overlap loss of the boxes.

    Args:
        logits_LBQK: of each class and no object.
        boxes_LBQ4: of the queries, as (centre x, centre y, width, height).
        classes_BN: int32; the cost of a box of class -1 has no meaning.
        truth_BN4: the boxes, in the same form.
        spec: see `SetPrediction`.
    """
    probability_LBKQ = jax.nn.softmax(logits_LBQK).swapaxes(2, 3)
    share_LBNQ = jnp.take_along_axis(probability_LBKQ, jnp.maximum(classes_BN, 0)[None, :, :, None], 2)
    query_LB1Q4, truth_1BN14 = boxes_LBQ4[:, :, None], truth_BN4[None, :, :, None]
    away_LBNQ = jnp.abs(query_LB1Q4 - truth_1BN14).sum(-1)
    return spec.distance * away_LBNQ + spec.overlap * (1 - box_giou(query_LB1Q4, truth_1BN14)) - share_LBNQ


def match(costs_LBNQ: jax.Array, there_BN: jax.Array) -> jax.Array:
    """Return the query of each box in the match of least cost, int32 [L, B, N]; each query has one box at most.

    The Hungarian algorithm, on the device. A box that is not there costs nothing anywhere, and has one of the queries
    that are left. A cost that is not finite counts as nothing, so that a diverged model does not loop without end.

    Args:
        costs_LBNQ: N is at most Q.
        there_BN: bool; which boxes there are.
    """
    costs_LBNQ = jnp.where(there_BN[None, ..., None] & jnp.isfinite(costs_LBNQ), costs_LBNQ, 0.0)

    def one(costs_NQ: jax.Array) -> jax.Array:
        box, query = optax.assignment.hungarian_algorithm(costs_NQ)
        return jnp.zeros(len(costs_NQ), jnp.int32).at[box].set(query.astype(jnp.int32))

    return jax.vmap(jax.vmap(one))(costs_LBNQ)


def box_giou(one_4: jax.Array, other_4: jax.Array) -> jax.Array:
    """Return the generalised IoU of boxes, -1 to 1 (Rezatofighi et al. 2019, arXiv:1902.09630); leading axes broadcast.

    Args:
        one_4: centre x, centre y, width and height.
        other_4: the same of the other box.
    """
    (low_2, high_2), (low_O2, high_O2) = (
        (x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2) for x in (one_4, other_4)
    )
    shared = jnp.maximum(jnp.minimum(high_2, high_O2) - jnp.maximum(low_2, low_O2), 0).prod(-1)
    around = (jnp.maximum(high_2, high_O2) - jnp.minimum(low_2, low_O2)).prod(-1)
    union = one_4[..., 2:].prod(-1) + other_4[..., 2:].prod(-1) - shared
    return shared / jnp.maximum(union, 1e-9) - (around - union) / jnp.maximum(around, 1e-9)
