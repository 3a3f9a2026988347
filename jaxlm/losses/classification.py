"""Tell which of some classes an example belongs to.

Shapes: B batch, K classes.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import Calibration, Confusion, LossFn, Mean, Metrics, top_k

PyTree = Any
IMAGE = ("image",)
TEXT = ("tokens", "segments", "types", "positions")


class Applies(Protocol):
    """What the loss asks of a model; a Linen module does it."""

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Return logits (B, K) of inputs that have B rows."""


@dataclass(frozen=True)
class Classification:
    """Spec of a cross entropy over classes, in nats; called with a model it is a loss.

    smoothing: share of the target that is spread over all classes, in training (Szegedy et al. 2016,
      arXiv:1512.00567, section 7).
    class_weights: weight of the examples of each class, in training, or none; the loss stays a mean over weights. An
      example with a soft target weighs the mean of the weights under it; smoothing changes no weight.
    """

    smoothing: float | jax.Array = 0.0
    class_weights: tuple[float, ...] = ()

    def __call__(self, model: Applies, inputs: tuple[str, ...] = IMAGE) -> LossFn:
        """The loss of a model that takes these entries of a batch (see `classification`)."""
        return classification(model, smoothing=self.smoothing, class_weights=self.class_weights, inputs=inputs)


def classification(
    model: Applies,
    *,
    smoothing: float | jax.Array = 0.0,
    class_weights: tuple[float, ...] = (),
    inputs: tuple[str, ...] = IMAGE,
) -> LossFn:
    """Cross entropy of each example's class, in nats: `-sum_k target_k log softmax(logits)_k`.

    smoothing: a share from 0 to 1; an array may be traced (see `transforms.inject`).
    inputs: what the model takes of a batch: the first entry as its argument, such as "image" (B, H, W, C) or "tokens"
      int32 (B, T), the others by their names, where the batch has them. `IMAGE` and `TEXT` are such.
    batch: these; "label" int32 (B,); optional "target" float32 (B, K), probabilities that stand in for
    the label in the loss (soft targets, as mixing images gives); optional "mask" float32 (B,), weights of examples.
    Collections other than "params" are updated in training and only read in evaluation.
    Metrics: "loss" (nats per example, weighted); in training "accuracy" (share of examples whose label has the largest
    logit); in evaluation what `Confusion` and `Calibration` tell, and "top5_accuracy" where there are more classes.
    Raises BadInput where `smoothing` is no share; the loss does where `class_weights` are not one for each class.
    """
    traced = isinstance(smoothing, jax.Array)
    if not traced and not 0 <= smoothing <= 1:
        raise BadInput(f"loss.smoothing is {smoothing}: give a share from 0 to 1")

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        weights, labels_B = {"params": params, **variables}, batch["label"]
        layout = {name: batch[name] for name in inputs[1:] if name in batch}
        if train:
            logits_BK, changed = model.apply(
                weights, batch[inputs[0]], train=True, rngs={"dropout": key}, mutable=list(variables), **layout
            )
            variables = {**variables, **changed}
        else:
            logits_BK = model.apply(weights, batch[inputs[0]], train=False, **layout)
        logits_BK = logits_BK.astype(jnp.float32)
        if class_weights and len(class_weights) != logits_BK.shape[-1]:
            raise BadInput(
                f"loss.class_weights has {len(class_weights)} numbers and the model {logits_BK.shape[-1]} classes: "
                "give one weight for each class"
            )
        mask_B = batch.get("mask", jnp.ones(labels_B.shape, jnp.float32))
        targets_BK = batch.get("target", jax.nn.one_hot(labels_B, logits_BK.shape[-1]))
        weights_B = mask_B
        if train and class_weights:
            weights_B = mask_B * (targets_BK @ jnp.asarray(class_weights))
        if train and (traced or smoothing):
            targets_BK = (1 - smoothing) * targets_BK + smoothing / logits_BK.shape[-1]
        nats_B = -(targets_BK * jax.nn.log_softmax(logits_BK)).sum(-1)
        metrics = {"loss": Mean((nats_B * weights_B).sum(), weights_B.sum())}
        metrics |= {"accuracy": top_k(logits_BK, labels_B, mask_B, 1)} if train else scores(logits_BK, labels_B, mask_B)
        return metrics, variables

    return loss


def scores(logits_BK: jax.Array, labels_B: jax.Array, mask_B: jax.Array) -> Metrics:
    """What an evaluation tells beside the loss, as counts that are exact for any batches and devices."""
    classes = logits_BK.shape[-1]
    found: Metrics = {
        "confusion": Confusion.of(logits_BK.argmax(-1), labels_B, mask_B, classes),
        "calibration": Calibration.of(logits_BK, labels_B, mask_B),
    }
    return found | {"top5_accuracy": top_k(logits_BK, labels_B, mask_B, 5)} if classes > 5 else found
