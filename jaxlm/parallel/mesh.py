"""Data parallelism and fully sharded parameters by `jax.jit` over a mesh of devices.

The program is written for the global batch and XLA inserts the communication, so losses, gradients and random draws
are those of one device whatever the shape of the mesh.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxlm.errors import BadInput
from jaxlm.parallel.placement import PyTree, check_divides, fetch, with_shardings
from jaxlm.steps import EvalFn, GradFn


@dataclass(frozen=True)
class Mesh:
    """Devices in a grid: examples are dealt out over both axes, and states are sharded over `fsdp`.

    data: number of replicas of the state, or -1 for all the devices that `fsdp` leaves.    fsdp: parts of the state.
    """

    data: int = -1
    fsdp: int = 1

    @cached_property
    def _mesh(self) -> jax.sharding.Mesh:
        count = jax.device_count()
        data = count // max(self.fsdp, 1) if self.data == -1 else self.data
        if data < 1 or self.fsdp < 1 or data * self.fsdp > count or (self.data == -1 and count % self.fsdp):
            raise BadInput(f"a mesh of data={self.data}, fsdp={self.fsdp} does not fit on {count} devices")
        devices = jax.devices()[: data * self.fsdp]
        return jax.make_mesh((data, self.fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2, devices=devices)

    @property
    def devices(self) -> int:
        """The number of devices of the mesh."""
        return self._mesh.size

    @property
    def axis_name(self) -> None:
        """Values are global."""
        return None

    def sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        """How a leaf of a state lies: its longest axis that divides is cut over `fsdp`, else it is replicated."""
        axes: list[str | None] = [None] * len(shape)
        divides = [axis for axis, size in enumerate(shape) if size >= self.fsdp and size % self.fsdp == 0]
        if self.fsdp > 1 and divides and math.prod(shape) > self.fsdp:
            axes[max(divides, key=lambda axis: shape[axis])] = "fsdp"
        return NamedSharding(self._mesh, PartitionSpec(*axes))

    def _shardings(self, shapes: PyTree) -> PyTree:
        return jax.tree.map(lambda x: self.sharding(x.shape), shapes)

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` directly into its shards: no device ever holds the whole state."""
        return jax.jit(fn, out_shardings=self._shardings(jax.eval_shape(fn, key)))(key)

    def reduce(self, grad: GradFn) -> GradFn:
        """The sums are global already."""
        return grad

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """The sums are global already."""
        return evaluate

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """`jax.jit`, with every output held to the sharding that `init` gives it."""

        def held(state: PyTree, batch: PyTree) -> PyTree:
            return jax.tree.map(
                lambda x: jax.lax.with_sharding_constraint(x, self.sharding(jnp.shape(x))), step(state, batch)
            )

        return jax.jit(held, donate_argnums=(0,) if donate else ())

    def put(self, batch: PyTree) -> PyTree:
        """Deal the examples of a batch out over all devices of the mesh."""
        check_divides(batch, self.devices)
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec(("data", "fsdp"))))

    def layout(self, shapes: PyTree) -> PyTree:
        """The shards that `init` makes."""
        return with_shardings(shapes, self._shardings(shapes))

    def fetch(self, tree: PyTree) -> PyTree:
        """NumPy arrays, gathered."""
        return fetch(tree)
