"""Token classification (tagging), such as named entity recognition.

Shapes: B batch, T tokens, K tags.
"""

import jax

from jaxlm.errors import BadInput
from jaxlm.losses.classification import TEXT
from jaxlm.losses.next_token import cross_entropy, target_weights
from jaxlm.metrics import Entities, Tags
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


def token_classification(model: Model, tags: Tags, *, strict: bool = False) -> LossFn:
    """Cross entropy of the tag of each labelled token, in nats: `-log softmax(logits)[target]`.

    The batch has "tokens" and "targets" int32 (B, T); optional "mask" float32 (B, T), the weight of each target, 0 on
    padding and on all pieces of a word but the first; optional "segments", "types" and "positions" int32 (B, T). A
    negative target, such as -100, has no weight.

    The metrics are "loss" (nats per labelled token) and "accuracy" (share of labelled tokens, O included, whose tag has
    the largest logit); in evaluation also `Entities`, over labelled tokens of any weight.

    Args:
        model: its `apply` returns logits (B, T, K).
        tags: the names of the tags.
        strict: count an entity only where its tags follow their scheme, see `Entities`.

    Raises:
        BadInput: (by the loss) the model does not have one logit for each tag.
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
        targets_BT, weights_BT = batch["targets"], target_weights(batch)
        nats_BT, correct_BT = cross_entropy(logits_BTK, targets_BT)
        metrics: Metrics = {
            "loss": Mean.from_values(nats_BT, weights_BT),
            "accuracy": Mean.from_values(correct_BT, weights_BT),
        }
        if not train:
            predicted_BT, segments_BT = logits_BTK.argmax(-1), batch.get("segments")
            metrics["entities"] = Entities.from_tags(predicted_BT, targets_BT, weights_BT, tags, segments_BT, strict)
        return metrics, variables

    return loss
