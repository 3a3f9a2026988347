"""Run a step on all devices with `jax.pmap`: the state is replicated, the batch is split, the sums are added.

The only file with an axis of devices: a batch gets one in `put`, and the state has none, because `pmap` takes and
returns it with `in_axes=None` and `out_axes=None` (one logical array, replicated).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlm.errors import BadInput
from jaxlm.parallel.placement import (
    EXAMPLES,
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

AXIS = "devices"
AXES: dict[str | None, MeshAxes] = {EXAMPLES: AXIS, "data": None, "fsdp": None, None: None}


@dataclass(frozen=True)
class Pmap:
    """All devices of the default backend. Dropout draws depend on the number of devices; under a mesh they do not.

    Attributes:
        rules: leaves of the state that are split over the devices, see `Placement.with_rules`.
    """

    rules: Rules = ()

    @property
    def devices(self) -> int:
        """Return the number of devices."""
        return jax.device_count()

    @property
    def axis_name(self) -> str:
        """Return the name of the axis of devices."""
        return AXIS

    @cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.asarray(jax.devices()), (AXIS,))

    def with_rules(self, rules: Rules) -> "Pmap":
        """Return this placement with leaves split by path over the devices."""
        return dataclasses.replace(self, rules=(*rules, *self.rules))

    def sum(self, tree: PyTree) -> PyTree:
        """Add arrays over devices."""
        return jax.lax.psum(tree, AXIS)

    def gather(self, tree: PyTree) -> PyTree:
        """Collect the rows of all devices, in the order of the batch."""
        return jax.lax.all_gather(tree, AXIS, tiled=True)

    def key(self, key: jax.Array) -> jax.Array:
        """Return `fold_in(key, device index)`."""
        return jax.random.fold_in(key, jax.lax.axis_index(AXIS))

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Initialise a state, replicated except for the leaves that a rule splits."""
        return jax.jit(fn, out_shardings=self._shardings(jax.eval_shape(fn, key)))(key)

    def _shardings(self, shapes: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: sharding_by_rule(self._mesh, jnp.shape(x), axes_of(self.rules, path) or (), AXES), shapes
        )

    def _specs(self, tree: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: PartitionSpec(*(AXES[axis] for axis in axes_of(self.rules, path) or ())), tree
        )

    def reduce(self, grad: GradFn) -> GradFn:
        """Sum gradients and metrics over devices after differentiation, and average the variables that change.

        Integer variables (counts) become the largest value of all devices. A variable that `grad` returns as it was
        given, such as the frozen base of an adapter, keeps its bits and is not sent to other devices. Each device draws
        from `fold_in(key, device index)`.
        """

        def reduced(params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array) -> Any:
            grads, metrics, changed = grad(params, variables, batch, self.key(key))
            given = {id(x) for x in jax.tree.leaves(variables)}  # traced arrays: one object is one value
            agreed = jax.tree.map(lambda x: x if id(x) in given else _agree(x), changed)
            return *self.sum((grads, metrics)), agreed

        return reduced

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Sum metrics over devices."""

        def reduced(state: Any, batch: PyTree) -> Any:
            return self.sum(evaluate(state, batch))

        return reduced

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """Compile with `jax.pmap`: the batch is mapped over its leading axis, the state is replicated.

        With rules it is `jax.jit` of a `shard_map`, since `pmap` cannot split single leaves of a state.
        """
        donated = (0,) if donate else ()
        if not self.rules:
            return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=donated)

        def specs(results: PyTree) -> PyTree:
            return (self._specs(results[0]), PartitionSpec()) if returns_state(results) else PartitionSpec()

        return jax.jit(self._sharded(step, specs), donate_argnums=donated)

    def _sharded(self, function: Callable[..., Any], specs: Callable[[PyTree], PyTree]) -> Callable[..., Any]:
        """Return a function under `shard_map`, which is what `pmap` uses itself, so that single leaves can be split.

        Args:
            function: (state, batch) -> results, of one device.
            specs: results -> how they are split.
        """

        def local(state: PyTree, batch: PyTree) -> PyTree:
            return function(state, jax.tree.map(lambda x: x[0], batch))

        def sharded(state: PyTree, batch: PyTree) -> PyTree:
            inputs = (self._specs(state), PartitionSpec(AXIS))
            shard = partial(jax.shard_map, local, mesh=self._mesh, in_specs=inputs, check_vma=False)
            results = jax.eval_shape(shard(out_specs=PartitionSpec()), state, batch)
            return shard(out_specs=specs(results))(state, batch)

        return sharded

    def map(self, function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
        """Compile a function of state and batch to arrays (B, ...), each device its own examples."""
        if self.rules:
            return jax.jit(self._sharded(function, lambda _: PartitionSpec(AXIS)))
        mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), out_axes=0)

        def joined(state: PyTree, batch: PyTree) -> PyTree:
            return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), mapped(state, batch))

        return joined

    def put(self, batch: PyTree) -> PyTree:
        """Split a batch over the devices: every array (B, ...) becomes (devices, B / devices, ...).

        Raises:
            BadInput: the batch does not divide.
        """
        check_divides(batch, self.devices)
        dealt = jax.tree.map(lambda x: x.reshape((self.devices, -1, *x.shape[1:])), batch)
        return jax.device_put(dealt, NamedSharding(self._mesh, PartitionSpec(AXIS)))

    def layout(self, shapes: PyTree) -> PyTree:
        """Return the shapes with the shardings that `init` gives."""
        return with_shardings(shapes, self._shardings(shapes))

    def check_replicas(self, state: PyTree) -> None:
        """Check that leaves which are replicated have the same bits on every device, by a checksum of each.

        `pmap` keeps the first device's copy without a word, whatever the step made of the others.

        Raises:
            BadInput: they do not; it names the first leaf.
        """
        leaves = {
            jax.tree_util.keystr(path, simple=True, separator="/"): x
            for path, x in jax.tree_util.tree_leaves_with_path(state)
            if axes_of(self.rules, path) is None
        }
        sums = self._checksums(leaves)
        for name in leaves:
            if len(np.unique(np.asarray(sums[name]))) > 1:
                raise BadInput(
                    f"{name} of the state differs between devices, since the step computes it from a device's part of "
                    "the batch: add over devices with place.sum, or compose the gradient with place.reduce"
                )

    @cached_property
    def _checksums(self) -> Callable[[PyTree], PyTree]:
        split = partial(jax.shard_map, mesh=self._mesh, in_specs=PartitionSpec(), check_vma=False)
        sums = split(lambda leaves: jax.tree.map(_checksum, leaves), out_specs=PartitionSpec(AXIS))
        return jax.jit(sums)

    def fetch(self, tree: PyTree) -> PyTree:
        """Copy to the host, see `placement.fetch`."""
        return fetch(tree)


def _checksum(x: jax.Array) -> jax.Array:
    """Return the sum of the bits of an array as 32-bit integers, modulo 2^32; uint32 [1]."""
    bits = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    if jnp.issubdtype(bits.dtype, jnp.inexact):
        bits = jax.lax.bitcast_convert_type(bits, {1: jnp.uint8, 2: jnp.uint16}.get(bits.dtype.itemsize, jnp.uint32))
    return bits.astype(jnp.uint32).sum(dtype=jnp.uint32)[None]


def _agree(x: jax.Array) -> jax.Array:
    return jax.lax.pmean(x, AXIS) if jnp.issubdtype(x.dtype, jnp.inexact) else jax.lax.pmax(x, AXIS)
