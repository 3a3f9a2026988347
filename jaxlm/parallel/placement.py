"""What a placement is: a home for a step function. The step does not know where it runs."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.steps import EvalFn, GradFn

PyTree = Any


class Placement(Protocol):
    """Where a step runs. A state is one global value under every placement; no axis of devices shows."""

    @property
    def devices(self) -> int:
        """How many parts the examples of a batch are dealt out to."""

    @property
    def axis_name(self) -> str | None:
        """The axis over which a step must sum by itself, as batch normalisation does; None where values are global."""

    def init(self, fn: Callable[[jax.Array], PyTree], key: jax.Array) -> PyTree:
        """Evaluate `fn(key)` directly into the layout of this placement."""

    def reduce(self, grad: GradFn) -> GradFn:
        """Sum gradients and metrics over devices."""

    def reduce_metrics(self, evaluate: EvalFn) -> EvalFn:
        """Sum metrics over devices."""

    def compile(self, step: Callable[..., Any], donate: bool = True) -> Any:
        """Jit `step(state, batch)`; what it returns has `.lower(state, batch)`, as `jax.jit` has.

        With `donate` the memory of the state passed in is used for the one that comes out.
        """

    def put(self, batch: PyTree) -> PyTree:
        """Send a batch of host arrays (B, ...) to the devices; B must divide by `devices`."""

    def layout(self, shapes: PyTree) -> PyTree:
        """The `jax.ShapeDtypeStruct`s of a state with their shardings: a template for restoring."""

    def fetch(self, tree: PyTree) -> PyTree:
        """Bring a tree to the host as NumPy arrays (PRNG keys stay as they are)."""


def fetch(tree: PyTree) -> PyTree:
    """Copy every array to the host; typed PRNG keys stay jax arrays."""
    return jax.tree.map(lambda x: x if _is_key(x) else np.asarray(x), tree)


def with_shardings(shapes: PyTree, shardings: PyTree) -> PyTree:
    """Attach a sharding to every ShapeDtypeStruct of a tree."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def check_divides(batch: PyTree, devices: int) -> None:
    """Raise BadInput where the examples of a batch cannot be dealt out evenly."""
    for x in jax.tree.leaves(batch):
        if x.shape[0] % devices:
            raise BadInput(
                f"a batch of {x.shape[0]} does not divide over {devices} devices: "
                f"make the batch a multiple of {devices} or use fewer devices"
            )


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
