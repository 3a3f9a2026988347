"""Scores of predicted numbers as sums that are divided once: R2, root mean square and mean absolute error."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class RegressionErrors(NamedTuple):
    """Sums over examples of a predicted number p and its target y, each with its weight.

    The sums of y and its square are of y - center, so that they keep their digits in float32 where y is far from 0; R2
    does not depend on the center.

    Attributes:
        weight: sum of the weights, float scalar, as all are.
        absolute: sum of |p - y|.
        squared: sum of (p - y)^2.
        target: sum of y - center.
        target_squared: sum of (y - center)^2.
    """

    weight: Any
    absolute: Any
    squared: Any
    target: Any
    target_squared: Any

    @classmethod
    def from_values(
        cls, predicted_B: jax.Array, targets_B: jax.Array, weights_B: jax.Array, center: float = 0.0
    ) -> "RegressionErrors":
        """Sum over a batch. A value of weight 0 adds nothing, not even where it is infinite or NaN.

        Args:
            predicted_B: predicted numbers.
            targets_B: true ones.
            weights_B: weights, 0 on padding.
            center: about the mean of the targets, such as that of training; the same for all batches.
        """
        errors_B, from_center_B = predicted_B - targets_B, targets_B - center

        def total(values_B: jax.Array) -> jax.Array:
            return jnp.where(weights_B != 0, values_B * weights_B, 0).sum()

        return cls(
            weights_B.sum(),
            total(jnp.abs(errors_B)),
            total(jnp.square(errors_B)),
            total(from_center_B),
            total(jnp.square(from_center_B)),
        )

    def compute(self) -> dict[str, float]:
        """Divide, on the host and in float64: "r2", "rmse" and "mae"; NaN where nothing was counted.

        R2 is 1 - sum (p - y)^2 / sum (y - mean y)^2; NaN where all targets are the same.
        """
        weight, absolute, squared, target, target_squared = (np.asarray(x, np.float64) for x in self)
        if not weight:
            return dict.fromkeys(("r2", "rmse", "mae"), float("nan"))
        spread = target_squared - target**2 / weight
        r2 = float(1 - squared / spread) if spread > 0 else float("nan")
        return {"r2": r2, "rmse": float(np.sqrt(squared / weight)), "mae": float(absolute / weight)}
