"""Run a step on devices: `local()`, `pmap()` or `mesh(data=-1, fsdp=1)`, with the same step function for all."""

from dataclasses import dataclass
from typing import Literal

import jax

from jaxlm.errors import BadInput
from jaxlm.parallel.local import Local
from jaxlm.parallel.mesh import Mesh
from jaxlm.parallel.placement import Placement, Rules
from jaxlm.parallel.pmap import Pmap
from jaxlm.parallel.together import Together, together

__all__ = [
    "Local",
    "Mesh",
    "Placement",
    "PlacementSpec",
    "Pmap",
    "Rules",
    "Together",
    "local",
    "mesh",
    "pmap",
    "together",
]


def local() -> Placement:
    """Return the placement on one device."""
    return Local()


def pmap() -> Placement:
    """Return the placement on all devices by `jax.pmap`, data parallel."""
    return Pmap()


def mesh(data: int = -1, fsdp: int = 1, rules: Rules = ()) -> Placement:
    """Return the placement on a grid of devices by `jax.jit`: `data` replicas of a state in `fsdp` parts, see Mesh."""
    return Mesh(data, fsdp, rules)


@dataclass(frozen=True)
class PlacementSpec:
    """The placement of a config, so that a command line can change it: `--place.kind mesh --place.fsdp 4`.

    Attributes:
        kind: one device, `jax.pmap` over all devices, or a mesh.
        data: replicas of the state on a mesh; -1 is all the devices that `fsdp` leaves.
        fsdp: parts of the state on a mesh.
    """

    kind: Literal["local", "pmap", "mesh"] = "local"
    data: int = -1
    fsdp: int = 1

    def build(self) -> Placement:
        """Build the placement.

        Raises:
            BadInput: `data` or `fsdp` is given to a kind that has no such axis, or there are several processes.
        """
        if jax.process_count() > 1:
            raise BadInput(
                f"this is process {jax.process_index()} of {jax.process_count()} of jax.distributed: jaxlm trains in "
                "one process, with all devices of one machine, so leave jax.distributed.initialize out"
            )
        if self.kind == "mesh":
            return mesh(self.data, self.fsdp)
        if (self.data, self.fsdp) != (-1, 1):
            raise BadInput(f"place.kind {self.kind} has no axes data and fsdp: use --place.kind mesh")
        return local() if self.kind == "local" else pmap()
