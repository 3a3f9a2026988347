"""Losses of predicted numbers: squared, absolute, Huber, Poisson and quantile.

Shapes: B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlm.errors import BadInput
from jaxlm.metrics.regression import RegressionErrors
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree

TABLE = ("numbers", "categories")


class Restored(Protocol):
    """The scaling of a target: `restored` undoes it, and `center` is about its mean, in its own units."""

    @property
    def center(self) -> float:
        """Return the mean of the target in training."""

    def restored(self, x: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
        """Return what a model predicts in the target's own units; `exp` is of the library of `x`."""


@dataclass(frozen=True)
class Regression:
    """Spec of the loss of a predicted number o for a target t, which is scaled for the training.

        "mse"       (o - t)^2                                     the mean is learnt
        "mae"       |o - t|                                       the median
        "huber"     (o - t)^2 / 2, and delta (|o - t| - delta / 2) where |o - t| > delta (Huber 1964)
        "poisson"   exp(o) - t o                                  the logarithm of a rate; t is a count, not scaled
        "quantile"  max(level (t - o), (level - 1) (t - o))       the quantile (Koenker & Bassett 1978)

    Attributes:
        kind: one of the above.
        delta: of "huber".
        level: of "quantile", between 0 and 1.
    """

    kind: Literal["mse", "mae", "huber", "poisson", "quantile"] = "mse"
    delta: float = 1.0
    level: float = 0.5

    def validate(self) -> None:
        """Raise BadInput where a number cannot be."""
        if self.delta <= 0:
            raise BadInput(f"loss.delta is {self.delta}: it must be above 0")
        if not 0 < self.level < 1:
            raise BadInput(f"loss.level is {self.level}: it must be between 0 and 1")

    def values(self, outputs_B: jax.Array, targets_B: jax.Array) -> jax.Array:
        """Return the loss of each example, float32 [B]."""
        match self.kind:
            case "mse":
                return jnp.square(outputs_B - targets_B)
            case "mae":
                return jnp.abs(outputs_B - targets_B)
            case "huber":
                return optax.huber_loss(outputs_B, targets_B, delta=self.delta)
            case "poisson":
                return jnp.exp(outputs_B) - targets_B * outputs_B
            case _:
                below_B = targets_B - outputs_B
                return jnp.maximum(self.level * below_B, (self.level - 1) * below_B)

    def predicted(self, outputs: Any, target: Restored, exp: Callable[[Any], Any] = np.exp) -> Any:
        """Return predicted numbers in the target's own units; `exp` is of the library of `outputs`."""
        return exp(outputs) if self.kind == "poisson" else target.restored(outputs, exp)

    def __call__(self, model: Model, target: Restored, inputs: tuple[str, ...] = TABLE) -> LossFn:
        """Return the loss of a model (see `regression`)."""
        return regression(model, self, target, inputs=inputs)


def regression(model: Model, spec: Regression, target: Restored, *, inputs: tuple[str, ...] = TABLE) -> LossFn:
    """Loss of a predicted number; in evaluation R2, root mean square and mean absolute error in the target's units.

    The batch has the model's inputs; "target" float32 (B,), scaled; "value" float32 (B,), the same in its own units;
    optional "mask" float32 (B,), weights of examples. Collections other than "params" are updated in training and only
    read in evaluation.

    Args:
        model: its `apply` returns (B, 1).
        spec: the loss.
        target: the scaling of the target.
        inputs: the entries of a batch that the model takes: the first one as its argument, the others by name where the
            batch has them.

    Raises:
        BadInput: a number of `spec` that cannot be, or a scaled target for a rate.
    """
    spec.validate()
    if spec.kind == "poisson" and (target.restored(0.0), target.restored(1.0)) != (0.0, 1.0):
        raise BadInput("loss.kind is poisson, whose target is a count that is not scaled: set --data.scale-target none")

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        layout = {name: batch[name] for name in inputs[1:] if name in batch}
        given, first = {"params": params, **variables}, batch[inputs[0]]
        if train:
            rngs = {"dropout": key}
            out_B1, changed = model.apply(given, first, train=True, rngs=rngs, mutable=list(variables), **layout)
            variables = {**variables, **changed}
        else:
            out_B1 = model.apply(given, first, train=False, **layout)
        outputs_B = out_B1[:, 0].astype(jnp.float32)
        weights_B = batch.get("mask", jnp.ones(outputs_B.shape, jnp.float32))
        metrics: Metrics = {"loss": Mean.from_values(spec.values(outputs_B, batch["target"]), weights_B)}
        if not train:
            predicted_B = spec.predicted(outputs_B, target, jnp.exp)
            metrics["errors"] = RegressionErrors.from_values(predicted_B, batch["value"], weights_B, target.center)
        return metrics, variables

    return loss
