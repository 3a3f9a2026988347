"""One device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxlm.parallel.placement import PyTree, fetch, with_shardings
from jaxlm.steps import EvalFn, GradFn


@dataclass(frozen=True)
class Local:
    """The first device of the default backend."""

    @property
    def devices(self) -> int:
        """One."""
        return 1

    @property
    def axis_name(self) -> None:
        """Values are global."""
        return None

    @property
    def sharding(self) -> jax.sharding.Sharding:
        """Everything on the one device."""
        return jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` as one program."""
        return jax.jit(fn)(key)

    def reduce(self, grad: GradFn) -> GradFn:
        """One device has the whole sum already."""
        return grad

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """One device has the whole sum already."""
        return evaluate

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """`jax.jit`."""
        return jax.jit(step, donate_argnums=(0,) if donate else ())

    def put(self, batch: PyTree) -> PyTree:
        """Copy to the device."""
        return jax.device_put(batch, self.sharding)

    def layout(self, shapes: PyTree) -> PyTree:
        """All leaves on the one device."""
        return with_shardings(shapes, jax.tree.map(lambda _: self.sharding, shapes))

    def fetch(self, tree: PyTree) -> PyTree:
        """NumPy arrays."""
        return fetch(tree)
