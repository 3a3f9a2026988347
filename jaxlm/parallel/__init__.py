"""Where a step runs: `local()`, `pmap()`, `mesh(data=-1, fsdp=1)`, three homes of the same step function."""

from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import BadInput
from jaxlm.parallel.local import Local
from jaxlm.parallel.mesh import Mesh
from jaxlm.parallel.placement import Placement
from jaxlm.parallel.pmap import Pmap
from jaxlm.parallel.spread import Spread, devices_for

__all__ = ["Local", "Mesh", "Place", "Placement", "Pmap", "Spread", "devices_for", "local", "mesh", "pmap"]


def local() -> Placement:
    """One device."""
    return Local()


def pmap() -> Placement:
    """All devices by `jax.pmap`, data parallel."""
    return Pmap()


def mesh(data: int = -1, fsdp: int = 1) -> Placement:
    """A grid of devices by `jax.jit`: `data` replicas of a state that is cut in `fsdp` parts. See `Mesh`."""
    return Mesh(data, fsdp)


@dataclass(frozen=True)
class Place:
    """The placement of a config, so that a command line can move a run: `--place.kind mesh --place.fsdp 4`."""

    kind: Literal["local", "pmap", "mesh"] = "local"
    data: int = -1
    fsdp: int = 1

    def build(self) -> Placement:
        """The placement itself. Raises BadInput where `data` or `fsdp` is given to a kind that has no such axis."""
        if self.kind == "mesh":
            return mesh(self.data, self.fsdp)
        if (self.data, self.fsdp) != (-1, 1):
            raise BadInput(f"place.kind {self.kind} has no axes data and fsdp: use --place.kind mesh")
        return local() if self.kind == "local" else pmap()
