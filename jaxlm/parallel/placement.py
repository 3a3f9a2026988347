"""The protocol of placements: where a step function runs, which the step itself does not know."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlm.errors import BadInput
from jaxlm.steps import EvalFn, GradFn, PyTree

Axes = tuple[str | None, ...]  # for each axis of an array the mesh axis that it is split over, or None
MeshAxes = str | tuple[str, ...] | None  # the axes of a mesh that one axis of an array is split over
Rules = tuple[tuple[str, Axes], ...]  # (regular expression searched for in the path of a leaf, its axes); first match


class Placement(Protocol):
    """Where a step runs. A state is one global value under every placement; it has no axis of devices."""

    @property
    def devices(self) -> int:
        """Return the number of parts that the examples of a batch are split into."""

    @property
    def axis_name(self) -> str | None:
        """Return the axis over which a step must sum by itself, such as batch norm; None where values are global."""

    def with_rules(self, rules: Rules) -> "Placement":
        """Return this placement with leaves of the state sharded by their path, see `Rules`.

        An axis named "examples" is split like the examples of a batch, under every placement: for a leaf that holds
        one row an example, such as the environments of an agent. Other names are axes of a mesh, "data" and "fsdp":
        an embedding table or a tensor-parallel kernel. Placements without these axes replicate such leaves.
        """

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Initialise a state directly in the layout of this placement, as `fn(key)`."""

    def sum(self, tree: PyTree) -> PyTree:
        """Add arrays over devices, inside a step: sums over a device's examples become sums over the batch."""

    def gather(self, tree: PyTree) -> PyTree:
        """Return arrays (B, ...) of the whole batch from those of a device's examples, inside a step.

        For a loss over pairs of examples. The gradient passes back to the device that computed a row.
        """

    def key(self, key: jax.Array) -> jax.Array:
        """Return the key to draw from inside a step, outside of `reduce`: other on each device where values are local.

        Under a mesh values are global and the key is returned as it is. For draws that do not depend on the number of
        devices use per-example keys (`jaxlm.data`).
        """

    def reduce(self, grad: GradFn) -> GradFn:
        """Return a gradient whose sums, of gradients and metrics, are over all devices."""

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Return an evaluation whose metrics are summed over all devices."""

    def map(self, function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
        """Jit `function(state, batch) -> arrays (B, ...)`: one row an example, in the order of the batch."""

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """Jit `step(state, batch)`; the result has `.lower(state, batch)`, like `jax.jit`'s.

        Args:
            step: returns (state, metrics); with `donate=False` it may return metrics alone.
            donate: reuse the memory of the state passed in for the one that comes out.
        """

    def put(self, batch: PyTree) -> PyTree:
        """Send a batch of host arrays (B, ...) to the devices.

        Raises:
            BadInput: B does not divide by `devices`.
        """

    def layout(self, shapes: PyTree) -> PyTree:
        """Return the `jax.ShapeDtypeStruct`s of a state with their shardings: a template for restoring."""

    def check_replicas(self, state: PyTree) -> None:
        """Check that leaves which are replicated have the same bits on every device.

        Raises:
            BadInput: they do not, since the step computes them from a device's part of the batch.
        """

    def fetch(self, tree: PyTree) -> PyTree:
        """Bring a tree to the host as NumPy arrays (PRNG keys stay as they are)."""


EXAMPLES = "examples"  # the axis name of leaves that are split like the examples of a batch


def axes_of(rules: Rules, path: Any) -> Axes | None:
    """Return the axes of the first rule whose pattern is found in the "/"-joined path of a leaf, or None."""
    if not rules:
        return None
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return next((axes for pattern, axes in rules if re.search(pattern, name)), None)


def sharding_by_rule(
    mesh: Mesh, shape: tuple[int, ...], axes: Axes, names: Mapping[str | None, MeshAxes]
) -> NamedSharding:
    """Return the sharding of a leaf that a rule names.

    Args:
        mesh: of the devices.
        shape: of the leaf.
        axes: of the rule.
        names: the axes of the mesh that each axis of a rule means; None for one that this placement does not have.

    Raises:
        BadInput: the rule names an axis that there is not, or more axes than the leaf has, or the leaf does not divide.
    """
    if len(axes) > len(shape) or not set(axes) <= set(names):
        raise BadInput(
            f"a rule splits an array of shape {list(shape)} over {list(axes)}: name at most one of examples, data "
            "and fsdp, or None, for each of its axes"
        )
    sharding = NamedSharding(mesh, PartitionSpec(*(names[axis] for axis in axes)))
    try:
        sharding.shard_shape(shape)
    except ValueError:
        sizes = ", ".join(f"{name}={size}" for name, size in mesh.shape.items())
        raise BadInput(
            f"an array of shape {list(shape)} does not divide over {list(axes)} of a mesh of {sizes}: "
            "change the rule or the mesh"
        ) from None
    return sharding


def returns_state(results: Any) -> bool:
    """Return whether a step gave (state, metrics), and not metrics alone."""
    return isinstance(results, tuple) and not hasattr(results, "_fields")


def fetch(tree: PyTree) -> PyTree:
    """Copy every array of a tree to the host as NumPy; typed PRNG keys stay jax arrays."""
    return jax.tree.map(lambda x: x if _is_key(x) else np.asarray(x), tree)


def with_shardings(shapes: PyTree, shardings: PyTree) -> PyTree:
    """Attach a sharding to every ShapeDtypeStruct of a tree."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def check_divides(batch: PyTree, devices: int) -> None:
    """Check that the examples of a batch divide evenly over devices.

    Raises:
        BadInput: they do not; the message has the two numbers.
    """
    for x in jax.tree.leaves(batch):
        if x.shape[0] % devices:
            raise BadInput(
                f"a batch of {x.shape[0]} does not divide over {devices} devices: "
                f"make the batch a multiple of {devices} or use fewer devices"
            )


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
