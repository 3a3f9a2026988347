"""Several runs on several devices: each device has some of them, and no number crosses from one to another."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxlm.parallel.placement import PyTree

AXIS = "runs"


@dataclass(frozen=True)
class Spread:
    """The first so many devices of this process. The leading axis of what is dealt out must divide by them."""

    devices: int = 1

    @cached_property
    def _mesh(self) -> jax.sharding.Mesh:
        devices = jax.local_devices()[: self.devices]
        return jax.make_mesh((self.devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)

    def _sharding(self, *axes: str) -> jax.sharding.Sharding:
        if self.devices == 1:
            return jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return NamedSharding(self._mesh, PartitionSpec(*axes))

    def compile(self, function: Callable[..., Any], *, shared: bool = False, donate: bool = True) -> Any:
        """Jit `function(states, batch)` of runs, as each device calls it with its own.

        shared: the batch has no axis of runs, and is the same for all.
        """
        if self.devices > 1:
            runs, same = PartitionSpec(AXIS), PartitionSpec()
            specs = (runs, same if shared else runs)
            function = jax.shard_map(function, mesh=self._mesh, in_specs=specs, out_specs=runs, check_vma=False)
        return jax.jit(function, donate_argnums=(0,) if donate else ())

    def deal(self, tree: PyTree) -> PyTree:
        """Deal arrays (runs, ...) out over the devices."""
        return jax.device_put(tree, self._sharding(AXIS))

    def share(self, tree: PyTree) -> PyTree:
        """Give every device a copy."""
        return jax.device_put(tree, self._sharding())

    def gather(self, tree: PyTree) -> PyTree:
        """Bring arrays (runs, ...) together on the first device."""
        return jax.device_put(tree, Spread()._sharding())


def devices_for(runs: int, devices: int) -> int:
    """The most of so many devices over which runs can be dealt out evenly."""
    return max(count for count in range(1, devices + 1) if runs % count == 0)
