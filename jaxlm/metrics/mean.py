"""Metrics as sums, such as (total, weight), that are divided once, at the end."""

from functools import reduce
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput


class Metric(Protocol):
    """Sums that are not divided yet: a NamedTuple of arrays, and a monoid under `merge`.

    A metric may define `merge(other)`, such as one that collects scores to rank them; without it the arrays are added.
    """

    def compute(self) -> float | dict[str, float]:
        """Divide, on the host and in float64, into one number, or into several with their own names."""


class Mean(NamedTuple):
    """A weighted mean that is not divided yet: a monoid under addition of both fields.

    Attributes:
        total: sum of weighted values, float scalar.
        weight: sum of the weights, float or integer scalar.
    """

    total: Any
    weight: Any

    @classmethod
    def from_values(cls, values: jax.Array, weights: jax.Array) -> "Mean":
        """Sum values and their weights. A value of weight 0 adds nothing, not even where it is infinite or NaN."""
        return cls(jnp.where(weights != 0, values * weights, 0).sum(), weights.sum())

    def compute(self) -> float:
        """Divide, on the host and in float64; NaN where nothing was counted."""
        total, weight = np.asarray(self.total, np.float64), np.asarray(self.weight, np.float64)
        return float(total / weight) if weight else float("nan")


class Perplexity(NamedTuple):
    """The exponential of a weighted mean of nats: the number of equally likely tokens that would be as hard to predict.

    Attributes:
        total: sum of weighted nats, float scalar.
        weight: sum of the weights, float or integer scalar.
    """

    total: Any
    weight: Any

    def compute(self) -> float:
        """Divide, on the host and in float64; infinity where that is too large, NaN where nothing was counted."""
        with np.errstate(over="ignore"):
            return float(np.exp(Mean(*self).compute()))


Metrics = dict[str, Any]  # each value is a Metric, and "loss" is a Mean


def merge(*parts: Metrics) -> Metrics:
    """Merge metrics of disjoint sets of examples into what they are over the union.

    Args:
        *parts: metrics of the same names, at least one.

    Returns:
        For each name the result of the metric's own `merge(other)` where it has one, else the sums of its arrays.

    Raises:
        ValueError: two parts have other names, or arrays of other shapes, which addition would broadcast.
    """
    first, *rest = parts
    for part in rest:
        if part.keys() != first.keys():
            raise ValueError(f"metrics {sorted(first)} and {sorted(part)} cannot be merged: their names differ")
    return {name: reduce(_merged, (part[name] for part in rest), metric) for name, metric in first.items()}


def require_sums(metrics: Metrics) -> Metrics:
    """Return metrics whose arrays may be added, over devices, micro-batches or updates.

    Raises:
        BadInput: one of them has a `merge` of its own.
    """
    for name, metric in metrics.items():
        if hasattr(metric, "merge"):
            raise BadInput(
                f"metric {name} ({type(metric).__name__}) has a `merge` of its own, and here arrays are added: return "
                "it from the `score` of an Evaluation, which runs on the host"
            )
    return metrics


def _merged(first: Any, second: Any) -> Any:
    own = getattr(first, "merge", None)
    return own(second) if own is not None else jax.tree.map(_add, first, second)


def _add(first: Any, second: Any) -> Any:
    if np.shape(first) != np.shape(second):
        shapes = f"{np.shape(first)} and {np.shape(second)}"
        raise ValueError(f"metric arrays of shapes {shapes} cannot be added: give the metric a `merge`")
    return first + second


def compute(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Compute the numbers of all metrics on the host.

    Args:
        metrics: metrics by name.
        prefix: put before every name.

    Returns:
        The numbers by name. A metric of several numbers has their names in the place of its own.

    Raises:
        ValueError: two metrics give the same name.
    """
    numbers: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        named = {prefix + key: x for key, x in (value if isinstance(value, dict) else {name: value}).items()}
        if twice := numbers.keys() & named.keys():
            raise ValueError(f"two metrics are called {', '.join(sorted(twice))}")
        numbers |= named
    return numbers
