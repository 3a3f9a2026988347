"""Run a step on a mesh of devices: data parallel, with fully sharded parameters if wanted.

The program is written for the global batch and XLA inserts the communication, so losses, gradients and random draws are
those of one device whatever the shape of the mesh.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxlm.errors import BadInput
from jaxlm.parallel.placement import (
    EXAMPLES,
    Axes,
    MeshAxes,
    PyTree,
    Rules,
    axes_of,
    check_divides,
    fetch,
    returns_state,
    sharding_by_rule,
    with_shardings,
)
from jaxlm.steps import EvalFn, GradFn

AXES: dict[str | None, MeshAxes] = {EXAMPLES: ("data", "fsdp"), "data": "data", "fsdp": "fsdp", None: None}


@dataclass(frozen=True)
class Mesh:
    """Devices in a grid: examples are split over both axes, states over `fsdp`.

    Attributes:
        data: replicas of the state; -1 is all the devices that `fsdp` leaves.
        fsdp: parts of the state.
        rules: leaves that are sharded by path, see `Placement.with_rules`.

    Raises:
        BadInput: the grid does not fit on the devices (at the first use).
    """

    data: int = -1
    fsdp: int = 1
    rules: Rules = ()

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
        """Return the number of devices of the mesh."""
        return self._mesh.size

    @property
    def axis_name(self) -> None:
        """Return None: values are global."""
        return None

    def with_rules(self, rules: Rules) -> "Mesh":
        """Return this mesh with leaves sharded by path; these rules go before its own."""
        return dataclasses.replace(self, rules=(*rules, *self.rules))

    def sum(self, tree: PyTree) -> PyTree:
        """Return the tree: values are global, so the sum is whole."""
        return tree

    def gather(self, tree: PyTree) -> PyTree:
        """Return the tree: values are global, so they are of the whole batch."""
        return tree

    def key(self, key: jax.Array) -> jax.Array:
        """Return the key: values are global, so one draw serves all devices."""
        return key

    def map(self, function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
        """Jit a function of state and batch to arrays (B, ...)."""
        return jax.jit(function)

    def sharding(self, shape: tuple[int, ...], axes: Axes | None = None) -> NamedSharding:
        """Return the sharding of a leaf of a state.

        Args:
            shape: of the leaf.
            axes: of the rule that names the leaf; None splits the longest axis that divides over `fsdp`, if any.

        Raises:
            BadInput: the rule does not fit the shape or the mesh.
        """
        if axes is not None:
            return sharding_by_rule(self._mesh, shape, axes, AXES)
        axes_: list[str | None] = [None] * len(shape)
        divides = [axis for axis, size in enumerate(shape) if size >= self.fsdp and size % self.fsdp == 0]
        if self.fsdp > 1 and divides and math.prod(shape) > self.fsdp:
            axes_[max(divides, key=lambda axis: shape[axis])] = "fsdp"
        return NamedSharding(self._mesh, PartitionSpec(*axes_))

    def _shardings(self, shapes: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: self.sharding(jnp.shape(x), axes_of(self.rules, path)), shapes
        )

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` directly into its shards: no device ever holds the whole state."""
        return jax.jit(fn, out_shardings=self._shardings(jax.eval_shape(fn, key)))(key)

    def reduce(self, grad: GradFn) -> GradFn:
        """Return the gradient: its sums are global."""
        return grad

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Return the evaluation: its sums are global."""
        return evaluate

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """Compile with `jax.jit`, every output constrained to the sharding that `init` gives it."""
        plain = dataclasses.replace(self, rules=())  # the rules are those of a state

        def constrained(state: PyTree, batch: PyTree) -> PyTree:
            results = step(state, batch)
            if not returns_state(results):
                return jax.lax.with_sharding_constraint(results, plain._shardings(results))
            state, metrics = results
            shardings = self._shardings(state), plain._shardings(metrics)
            return jax.lax.with_sharding_constraint((state, metrics), shardings)

        return jax.jit(constrained, donate_argnums=(0,) if donate else ())

    def put(self, batch: PyTree) -> PyTree:
        """Split the examples of a batch over all devices of the mesh.

        Raises:
            BadInput: the batch does not divide.
        """
        check_divides(batch, self.devices)
        return jax.device_put(batch, NamedSharding(self._mesh, PartitionSpec(("data", "fsdp"))))

    def layout(self, shapes: PyTree) -> PyTree:
        """Return the shapes with the shardings that `init` gives."""
        return with_shardings(shapes, self._shardings(shapes))

    def check_replicas(self, state: PyTree) -> None:
        """Do nothing: a program of the whole mesh has one value for each array."""
        del state

    def fetch(self, tree: PyTree) -> PyTree:
        """Gather on the host, see `placement.fetch`."""
        return fetch(tree)
