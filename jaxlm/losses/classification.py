"""Cross entropy over classes, with label smoothing, class weights and soft targets.

Shapes: B batch, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.metrics import Calibration, Confusion, top_k
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree

Mix = Callable[[jax.Array, jax.Array, PyTree], jax.Array]
IMAGE = ("image",)
TEXT = ("tokens", "segments", "types", "positions")


@dataclass(frozen=True)
class Classification:
    """Spec of the cross entropy over classes, in nats; call it with a model to get the loss.

    Attributes:
        smoothing: share of the target that is spread over all classes in training (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        class_weights: weight of the examples of each class in training, or none. The loss stays a mean over weights. An
            example with a soft target has the mean of the weights under it; smoothing changes no weight.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    hyperparameters: ClassVar[tuple[str, ...]] = ("smoothing",)

    def __call__(self, model: Model, inputs: tuple[str, ...] = IMAGE, mix: Mix | None = None) -> LossFn:
        """Return the loss of a model that takes these entries of a batch (see `classification`)."""
        return classification(model, smoothing=self.smoothing, class_weights=self.class_weights, inputs=inputs, mix=mix)


def classification(
    model: Model,
    *,
    smoothing: float | jax.Array = 0.0,
    class_weights: tuple[float, ...] = (),
    inputs: tuple[str, ...] = IMAGE,
    mix: Mix | None = None,
) -> LossFn:
    """Cross entropy over classes in nats, `-sum_k target_k log softmax(logits)_k`, with label smoothing.

    The batch has the model's inputs; "label" int32 (B,); optional "target" float32 (B, K), soft targets that replace
    the label in the loss, as mixing images gives; optional "mask" float32 (B,), weights of examples. An example without
    a class (a negative label, such as -100, or a soft target of zeros) has no weight. Collections other than "params"
    are updated in training and only read in evaluation.

    The metrics are "loss" (nats per example, weighted); in training "accuracy" (share of examples whose label has the
    largest logit); in evaluation `scores`.

    Args:
        model: its `apply` returns logits (B, K).
        smoothing: a share from 0 to 1; an array may be traced (see `transforms.inject`).
        class_weights: one weight for each class, or none.
        inputs: the entries of a batch that the model takes: the first one as its argument, such as "image" (B, H, W, C)
            or "tokens" int32 (B, T), the others by name where the batch has them. `IMAGE` and `TEXT` are such.
        mix: (nats (B,), logits (B, K), variables) -> nats (B,), what a loss in training is besides, such as that of
            `jaxlm.losses.distillation`.

    Raises:
        BadInput: `smoothing` is not a share. The loss raises it where `class_weights` does not have one weight per
            class.
    """
    traced = isinstance(smoothing, jax.Array)
    if not traced and not 0 <= smoothing <= 1:
        raise BadInput(f"loss.smoothing is {smoothing}: give a share from 0 to 1")

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        logits_BK, variables = _logits(model, params, variables, batch, inputs, key if train else None)
        classes = logits_BK.shape[-1]
        targets_BK, mask_B = _targets(batch, classes)
        weights_B = mask_B
        if train and class_weights:
            weights_B = mask_B * (targets_BK @ _weights_of_classes(class_weights, classes))
        if train and (traced or smoothing):
            targets_BK = (1 - smoothing) * targets_BK + smoothing / classes
        nats_BK = jnp.where(
            targets_BK == 0, 0, -targets_BK * jax.nn.log_softmax(logits_BK)
        )  # 0 of an infinite nat is 0
        nats_B = nats_BK.sum(-1) if mix is None or not train else mix(nats_BK.sum(-1), logits_BK, variables)
        found = {"accuracy": top_k(logits_BK, batch["label"], mask_B, 1)} if train else scores(logits_BK, batch, mask_B)
        return {"loss": Mean.from_values(nats_B, weights_B), **found}, variables

    return loss


def _logits(
    model: Model, params: PyTree, variables: PyTree, batch: PyTree, inputs: tuple[str, ...], key: jax.Array | None
) -> tuple[jax.Array, PyTree]:
    """Return logits float32 (B, K) and the variables, which are updated in training, where there is a `key`."""
    given, first = {"params": params, **variables}, batch[inputs[0]]
    layout = {name: batch[name] for name in inputs[1:] if name in batch}
    if key is None:
        return model.apply(given, first, train=False, **layout).astype(jnp.float32), variables
    logits, changed = model.apply(given, first, train=True, rngs={"dropout": key}, mutable=list(variables), **layout)
    return logits.astype(jnp.float32), {**variables, **changed}


def _targets(batch: PyTree, classes: int) -> tuple[jax.Array, jax.Array]:
    """Return the targets (B, K) and the weight of each example (B,), which is 0 where its label is negative.

    A label beyond the classes has NaN targets, so that a wrong number of classes stops a run.
    """
    labels_B = batch["label"]
    mask_B = batch.get("mask", jnp.ones(labels_B.shape, jnp.float32))
    if "target" in batch:
        return batch["target"], mask_B * (batch["target"] != 0).any(-1)
    targets_BK = jnp.where((labels_B < classes)[:, None], jax.nn.one_hot(labels_B, classes), jnp.nan)
    return targets_BK, mask_B * (labels_B >= 0)


def _weights_of_classes(class_weights: tuple[float, ...], classes: int) -> jax.Array:
    if len(class_weights) != classes:
        raise BadInput(
            f"loss.class_weights has {len(class_weights)} numbers and the model {classes} classes: "
            "give one weight for each class"
        )
    return jnp.asarray(class_weights)


def scores(logits_BK: jax.Array, batch: PyTree, mask_B: jax.Array) -> Metrics:
    """Compute the metrics of an evaluation besides the loss: confusion, calibration, and top-5 accuracy over 5 classes.

    They are counts, so they are exact for any division into batches and devices.
    """
    labels_B, classes = batch["label"], logits_BK.shape[-1]
    found: Metrics = {
        "confusion": Confusion.from_predictions(logits_BK.argmax(-1), labels_B, mask_B, classes),
        "calibration": Calibration.from_logits(logits_BK, labels_B, mask_B),
    }
    return found | {"top5_accuracy": top_k(logits_BK, labels_B, mask_B, 5)} if classes > 5 else found
