"""From a loss to a gradient: sums over examples, never means of means."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.steps.metrics import Metrics

PyTree = Any


class LossFn(Protocol):
    """The loss of a batch as sums; the metrics hold "loss", and the variables come back updated."""

    def __call__(
        self, params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        """Return (metrics, variables)."""


GradFn = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, Metrics, PyTree]]


def grad(loss: LossFn) -> GradFn:
    """The gradient of the *summed* loss, `metrics["loss"].total`, with the metrics and the updated variables."""

    def total(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[jax.Array, Any]:
        metrics, variables = loss(params, variables, batch, key, train=True)
        return metrics["loss"].total, (metrics, variables)

    def summed_grad(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        grads, (metrics, variables) = jax.grad(total, has_aux=True)(params, variables, batch, key)
        return grads, metrics, variables

    return summed_grad


def split(batch: PyTree, parts: int) -> PyTree:
    """Give every array (B, ...) of a batch a leading axis of micro-batches: (parts, B / parts, ...).

    Micro-batch j takes the examples j, j + parts, ...: of a batch that is sharded over devices each device keeps its
    own.
    """

    def one(x: jax.Array) -> jax.Array:
        if x.shape[0] % parts:
            raise ValueError(f"a batch of {x.shape[0]} does not divide into {parts} micro-batches")
        return x.reshape((-1, parts, *x.shape[1:])).swapaxes(0, 1)

    return jax.tree.map(one, batch)


def accumulate(grad: GradFn, parts: int) -> GradFn:
    """Compute the gradient in `parts` micro-batches, one after the other: the same sums in a fraction of the memory.

    `accumulate(grad, 1)` is `grad`. Micro-batch j draws from `fold_in(key, j)`. Variables are passed from one
    micro-batch to the next, so batch normalisation (and nothing else) depends on `parts`.
    Raises ValueError where the batch does not divide.
    """
    if parts == 1:
        return grad

    def accumulated(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        def add(carry: Any, item: Any) -> tuple[Any, None]:
            sums, variables = carry
            part, index = item
            grads, metrics, variables = grad(params, variables, part, jax.random.fold_in(key, index))
            return (jax.tree.map(jnp.add, sums, (grads, metrics)), variables), None

        micro_batches = split(batch, parts)
        first = jax.tree.map(lambda x: x[0], micro_batches)
        grads, metrics, _ = jax.eval_shape(grad, params, variables, first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
        (sums, variables), _ = jax.lax.scan(add, (zeros, variables), (micro_batches, jnp.arange(parts)))
        return *sums, variables

    return accumulated
