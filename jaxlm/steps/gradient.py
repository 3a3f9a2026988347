"""From a loss to a gradient: sums over examples, never means of means."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.metrics.mean import Metrics
from jaxlm.steps.model import PyTree


class LossFn(Protocol):
    """Compute the loss of a batch as sums: the metrics have the `Mean` "loss"; the variables come back updated."""

    def __call__(
        self, params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        """Return (metrics, variables).

        Args:
            params: what is differentiated.
            variables: the other collections, such as `{"batch_stats": ...}`, and "hyperparameters" where the state has
                any.
            batch: arrays (B, ...).
            key: typed PRNG key of this update and micro-batch, or of this batch of an evaluation (`steps.evaluate`).
            train: True in a training step, False in an evaluation.
        """


GradFn = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, Metrics, PyTree]]


def grad(loss: LossFn) -> GradFn:
    """Differentiate the *summed* loss of a batch, `metrics["loss"].total`.

    The sum is divided by its weight in `steps.update` only, so that micro-batches and devices can be added before.

    Returns:
        (params, variables, batch, key) -> (gradients, metrics, variables), with the gradients like `params`.
    """

    def total(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[jax.Array, Any]:
        metrics, variables = loss(params, variables, batch, key, train=True)
        return metrics["loss"].total, (metrics, variables)

    def summed_grad(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        grads, (metrics, variables) = jax.grad(total, has_aux=True)(params, variables, batch, key)
        return grads, metrics, variables

    return summed_grad


def split(batch: PyTree, parts: int) -> PyTree:
    """Split a batch into micro-batches: every array (B, ...) becomes (parts, B / parts, ...).

    Micro-batch j has the examples j, j + parts, ...: so each device keeps its own examples of a sharded batch.

    Raises:
        ValueError: B does not divide by `parts`.
    """

    def one(x: jax.Array) -> jax.Array:
        if x.shape[0] % parts:
            raise ValueError(f"a batch of {x.shape[0]} does not divide into {parts} micro-batches")
        return x.reshape((-1, parts, *x.shape[1:])).swapaxes(0, 1)

    return jax.tree.map(one, batch)


def accumulate(grad: GradFn, micro_batches: int) -> GradFn:
    """Accumulate the gradient over micro-batches, one after another: the same sums in a fraction of the memory.

    Micro-batch j draws from `fold_in(key, j)`. The variables go from one micro-batch to the next, so batch
    normalisation, and nothing else, depends on `micro_batches`.

    Law: it is `grad` for any number of micro-batches, to rounding; `accumulate(grad, 1)` is `grad` itself.

    Args:
        grad: a gradient as sums, see `grad`.
        micro_batches: how many; the batch must divide by it.

    Raises:
        ValueError: the batch does not divide (when the step is traced).
    """
    if micro_batches == 1:
        return grad

    def accumulated(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
        def add(carry: Any, item: Any) -> tuple[Any, None]:
            sums, variables = carry
            part, index = item
            grads, metrics, variables = grad(params, variables, part, jax.random.fold_in(key, index))
            return (jax.tree.map(jnp.add, sums, (grads, metrics)), variables), None

        stacked = split(batch, micro_batches)
        first = jax.tree.map(lambda x: x[0], stacked)
        grads, metrics, _ = jax.eval_shape(grad, params, variables, first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
        (sums, variables), _ = jax.lax.scan(add, (zeros, variables), (stacked, jnp.arange(micro_batches)))
        return *sums, variables

    return accumulated
