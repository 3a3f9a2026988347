"""Data parallelism by `jax.pmap`: the state is replicated, the batch is dealt out, the sums are added up.

The only file that sees an axis of devices: a batch gets one in `put`, and the state has none, because `pmap` takes and
returns it with `in_axes=None` and `out_axes=None` (one logical array, replicated).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlm.parallel.placement import PyTree, check_divides, fetch, with_shardings
from jaxlm.steps import EvalFn, GradFn

AXIS = "devices"


@dataclass(frozen=True)
class Pmap:
    """Every device of the default backend. Dropout draws depend on the number of devices; under a mesh they do not."""

    @property
    def devices(self) -> int:
        """The number of devices."""
        return jax.device_count()

    @property
    def axis_name(self) -> str:
        """The axis of devices."""
        return AXIS

    def _sharding(self, *axes: str) -> NamedSharding:
        return NamedSharding(Mesh(np.asarray(jax.devices()), (AXIS,)), PartitionSpec(*axes))

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` replicated."""
        return jax.jit(fn, out_shardings=self._sharding())(key)

    def reduce(self, grad: GradFn) -> GradFn:
        """Sum gradients and metrics over devices after differentiation; average the variables.

        Variables that are whole numbers (counts) take the largest value of all devices instead. Each device draws from
        `fold_in(key, device index)`.
        """

        def reduced(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> Any:
            key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
            grads, metrics, variables = grad(params, variables, batch, key)
            return *jax.lax.psum((grads, metrics), AXIS), jax.tree.map(_agree, variables)

        return reduced

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Sum metrics over devices."""

        def reduced(state: Any, batch: PyTree) -> Any:
            return jax.lax.psum(evaluate(state, batch), AXIS)

        return reduced

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """`jax.pmap` with the batch mapped over its leading axis and the rest replicated."""
        donated = (0,) if donate else ()
        return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=donated)

    def put(self, batch: PyTree) -> PyTree:
        """Give every array (B, ...) the axis of devices, (devices, B / devices, ...), and deal it out."""
        check_divides(batch, self.devices)
        dealt = jax.tree.map(lambda x: x.reshape((self.devices, -1, *x.shape[1:])), batch)
        return jax.device_put(dealt, self._sharding(AXIS))

    def layout(self, shapes: PyTree) -> PyTree:
        """All leaves replicated."""
        return with_shardings(shapes, jax.tree.map(lambda _: self._sharding(), shapes))

    def fetch(self, tree: PyTree) -> PyTree:
        """NumPy arrays."""
        return fetch(tree)


def _agree(x: jax.Array) -> jax.Array:
    return jax.lax.pmean(x, AXIS) if jnp.issubdtype(x.dtype, jnp.inexact) else jax.lax.pmax(x, AXIS)
