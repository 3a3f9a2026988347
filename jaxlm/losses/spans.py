"""Extractive question answering: the cross entropy of the ends of an answer.

Shapes: B batch, T tokens.
"""

import jax
import jax.numpy as jnp

from jaxlm.losses.classification import TEXT
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree

BARRED = -1e30  # a logit whose probability is 0; finite, as a row of padding has no others


def answer_spans(model: Model) -> LossFn:
    """Cross entropy of where an answer starts and where it ends, in nats, the mean of both (Devlin et al. 2019, 4.2).

    `(-log p_start[start] - log p_end[end]) / 2`, with the softmax over the places of the context and [CLS] alone.

    The batch has "tokens" and "places" int32 (B, T), places being 1 where an answer may begin or end; "start" and "end"
    int32 (B,), [CLS] where a window has no answer, and negative where it has no target: then it has no weight; "mask"
    float32 (B,), the weight of a window; optional "segments", "types" and "positions" int32 (B, T). See
    `jaxlm.data.questions`.

    The metrics are "loss" (nats per window) and "accuracy" (share of windows of which both ends have the largest
    logits).

    Args:
        model: its `apply` returns logits (B, T, 2) of starts and ends.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        layout = {name: batch[name] for name in TEXT[1:] if name in batch}
        rngs = {"dropout": key} if train else None
        logits_BT2 = model.apply({"params": params, **variables}, batch["tokens"], train=train, rngs=rngs, **layout)
        logits_BT2 = jnp.where(batch["places"][..., None] > 0, logits_BT2.astype(jnp.float32), BARRED)
        targets_B2 = jnp.stack([batch["start"], batch["end"]], -1)
        nats_B2, correct_B2 = cross_entropy(logits_BT2.swapaxes(1, 2), targets_B2)
        weights_B = batch["mask"] * (targets_B2 >= 0).all(-1)
        return {
            "loss": Mean.from_values(nats_B2.mean(-1), weights_B),
            "accuracy": Mean.from_values(correct_B2.min(-1), weights_B),
        }, variables

    return loss
