"""Run a step on one device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxlm.parallel.placement import PyTree, Rules, fetch, with_shardings
from jaxlm.steps import EvalFn, GradFn


@dataclass(frozen=True)
class Local:
    """The first device of the default backend."""

    @property
    def devices(self) -> int:
        """Return 1."""
        return 1

    @property
    def axis_name(self) -> None:
        """Return None: values are global."""
        return None

    @property
    def sharding(self) -> jax.sharding.Sharding:
        """Return the sharding of every array: whole, on the one device."""
        return jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def with_rules(self, rules: Rules) -> "Local":
        """Return this placement: one device holds every leaf whole."""
        del rules
        return self

    def sum(self, tree: PyTree) -> PyTree:
        """Return the tree: one device has the whole sum."""
        return tree

    def gather(self, tree: PyTree) -> PyTree:
        """Return the tree: one device has the whole batch."""
        return tree

    def key(self, key: jax.Array) -> jax.Array:
        """Return the key: there is one device."""
        return key

    def map(self, function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
        """Jit a function of state and batch to arrays (B, ...)."""
        return jax.jit(function)

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` as one program."""
        return jax.jit(fn)(key)

    def reduce(self, grad: GradFn) -> GradFn:
        """Return the gradient: one device has the whole sum."""
        return grad

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Return the evaluation: one device has the whole sum."""
        return evaluate

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """Compile with `jax.jit`."""
        return jax.jit(step, donate_argnums=(0,) if donate else ())

    def put(self, batch: PyTree) -> PyTree:
        """Copy a batch to the device; on a CPU, leave it to the compiled step, which takes arrays of the host."""
        return batch if jax.devices()[0].platform == "cpu" else jax.device_put(batch, self.sharding)

    def layout(self, shapes: PyTree) -> PyTree:
        """Return the shapes with every leaf on the one device."""
        return with_shardings(shapes, jax.tree.map(lambda _: self.sharding, shapes))

    def check_replicas(self, state: PyTree) -> None:
        """Do nothing: one device has one copy."""
        del state

    def fetch(self, tree: PyTree) -> PyTree:
        """Copy to the host, see `placement.fetch`."""
        return fetch(tree)
