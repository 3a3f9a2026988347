"""Tell which tag each token has, such as those of named entities.

Shapes: B batch, T tokens, K tags.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.classification import TEXT
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import Entities, LossFn, Mean, Metrics, Tags

PyTree = Any


class Applies(Protocol):
    """What the loss asks of a model; a Linen module does it."""

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Return logits (B, T, K) of tokens (B, T)."""


def token_classification(model: Applies, tags: Tags, *, strict: bool = False) -> LossFn:
    """Cross entropy of the tag of each labelled token, in nats: `-log softmax(logits)[target]`.

    batch: "tokens" and "targets" int32 (B, T); optional "mask" float32 (B, T), the weight of each target, which is 0 on
      padding and on all pieces of a word but the first; optional "segments", "types" and "positions" int32 (B, T).
    strict: whether an entity counts only where its tags follow their scheme, see `Entities`.
    Metrics: "loss" (nats per labelled token), "accuracy" (share of labelled tokens, O included, whose tag has the
    largest logit); in evaluation what `Entities` tells, at labelled tokens of any weight.
    Raises BadInput where the model has not one logit for each tag.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        layout = {name: batch[name] for name in TEXT[1:] if name in batch}
        rngs = {"dropout": key} if train else None
        logits_BTK = model.apply({"params": params, **variables}, batch["tokens"], train=train, rngs=rngs, **layout)
        if logits_BTK.shape[-1] != len(tags.names):
            raise BadInput(
                f"model.classes is {logits_BTK.shape[-1]} and the data have {len(tags.names)} tags: make them equal"
            )
        targets_BT = batch["targets"]
        mask_BT = batch.get("mask", jnp.ones(targets_BT.shape, jnp.float32))
        nats_BT, correct_BT = cross_entropy(logits_BTK, targets_BT)
        weight = mask_BT.sum()
        metrics: Metrics = {
            "loss": Mean((nats_BT * mask_BT).sum(), weight),
            "accuracy": Mean((correct_BT * mask_BT).sum(), weight),
        }
        if not train:
            predicted_BT, segments_BT = logits_BTK.argmax(-1), batch.get("segments")
            metrics["entities"] = Entities.of(predicted_BT, targets_BT, mask_BT, tags, segments_BT, strict)
        return metrics, variables

    return loss
