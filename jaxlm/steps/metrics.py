"""Numbers that cross a boundary travel as sums, such as (total, weight), and are divided once, at the end."""

from typing import Any, NamedTuple, Protocol

import jax
import numpy as np


class Metric(Protocol):
    """Sums that are not divided yet: a NamedTuple of arrays, and a monoid under addition of each of them."""

    def compute(self) -> float | dict[str, float]:
        """Divide, on the host and in float64, into one number or into several with names of their own."""


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


class Perplexity(NamedTuple):
    """The exponential of a weighted mean of nats: how many equally likely tokens would be as hard to tell.

    total: sum of weighted nats, float scalar.    weight: sum of the weights, float or integer scalar.
    """

    total: Any
    weight: Any

    def compute(self) -> float:
        """Divide, on the host and in float64; infinity where that is too large, NaN where nothing was counted."""
        with np.errstate(over="ignore"):
            return float(np.exp(Mean(*self).compute()))


Metrics = dict[str, Any]  # each value is a Metric, and "loss" is a Mean


def merge(*parts: Metrics) -> Metrics:
    """Add metrics of disjoint sets of examples: what they are over the union."""
    return jax.tree.map(lambda *values: sum(values[1:], start=values[0]), *parts)


def compute(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Divide every metric on the host; names get the prefix.

    A metric of several numbers gives its own names and not the one it has in `metrics`. Raises ValueError where two
    metrics give the same name.
    """
    numbers: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        named = {prefix + key: x for key, x in (value if isinstance(value, dict) else {name: value}).items()}
        if twice := numbers.keys() & named.keys():
            raise ValueError(f"two metrics are called {', '.join(sorted(twice))}")
        numbers |= named
    return numbers
