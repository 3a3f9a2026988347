"""L1 and L2 penalties on parameters, as terms of a loss."""

import re

import jax
import jax.numpy as jnp

from jaxlm.steps import LossFn, Mean, Metrics, PyTree


def penalise(loss: LossFn, *, l1: float = 0.0, l2: float = 0.0, pattern: str = "(^|/)(kernel|embedding)$") -> LossFn:
    """Add the penalty `l1 sum|p| + l2 sum p^2 / 2` to a loss, in training only.

    Each micro-batch and device adds the penalty times its own weight, so the divided loss gains it exactly once. The
    gradient equals that of `l1` and `l2` in jaxlm.optim. The metrics gain "penalty" in training.

    Args:
        loss: the loss.
        l1: weight of the sum of absolute values.
        l2: weight of half the sum of squares.
        pattern: regular expression searched for in the "/"-joined paths of parameters, such as "head/kernel".

    Raises:
        ValueError: no parameter has such a path.
    """

    def penalised(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        metrics, variables = loss(params, variables, batch, key, train=train)
        if not train:
            return metrics, variables
        total, weight = metrics["loss"]
        added = weight * _size(params, l1, l2, pattern)
        return metrics | {"loss": Mean(total + added, weight), "penalty": Mean(added, weight)}, variables

    return penalised


def _size(params: PyTree, l1: float, l2: float, pattern: str) -> jax.Array:
    named = jax.tree_util.tree_leaves_with_path(params)
    chosen = [x for path, x in named if re.search(pattern, jax.tree_util.keystr(path, simple=True, separator="/"))]
    if not chosen:
        raise ValueError(f"no parameter has a path in which {pattern!r} is found")
    return sum((l1 * jnp.abs(x).sum() + l2 / 2 * jnp.square(x).sum() for x in chosen), start=jnp.zeros(()))
