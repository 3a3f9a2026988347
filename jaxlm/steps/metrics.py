"""Numbers that cross a boundary travel as (total, weight) and are divided once, at the end."""

from typing import Any, NamedTuple

import jax
import numpy as np


class Mean(NamedTuple):
    """A weighted mean that is not divided yet: a monoid under addition of both fields.

    total: sum of weighted values, float scalar.    weight: sum of the weights, float or integer scalar.
    """

    total: Any
    weight: Any

    def compute(self) -> float:
        """Divide, on the host and in float64; NaN where nothing was counted."""
        total, weight = np.asarray(self.total, np.float64), np.asarray(self.weight, np.float64)
        return float(total / weight) if weight else float("nan")


Metrics = dict[str, Mean]


def merge(*parts: Metrics) -> Metrics:
    """Add metrics of disjoint sets of examples: what they are over the union."""
    return jax.tree.map(lambda *values: sum(values[1:], start=values[0]), *parts)


def compute(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Divide every metric on the host; names get the prefix."""
    return {prefix + name: mean.compute() for name, mean in metrics.items()}
