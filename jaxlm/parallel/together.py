"""Train several runs of one step at the same time: vmapped on the first device, or one run a device."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.parallel.placement import PyTree

Kind = Literal["devices", "vmapped"]
Step = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]


class Vmapped:
    """All runs in one program, with a leading axis of runs. Law: a run is the step on its own, to rounding."""

    def place(self, states: Sequence[PyTree]) -> PyTree:
        """Stack one state a run, each on the first device."""
        return _stack(list(states))

    def put(self, batches: Sequence[PyTree]) -> PyTree:
        """Stack one batch of host arrays a run; their shapes must be equal."""
        return jax.device_put(jax.tree.map(lambda *arrays: np.stack(arrays), *batches), jax.local_devices()[0])

    def compile(self, step: Step, states: PyTree, batches: PyTree) -> Any:
        """Compile a step for states and batches like these; it reuses the memory of the states passed in."""
        return _vmapped(step).lower(states, batches).compile()

    def take(self, states: PyTree, run: int) -> PyTree:
        """Return the state of one run."""
        return _index(states, run)


class OneADevice:
    """Run r on device r, in the program that it has alone. Law: a run is the step on its own, bit for bit."""

    def place(self, states: Sequence[PyTree]) -> list[PyTree]:
        """Send each state to its device."""
        devices = jax.local_devices()[: len(states)]
        return [jax.device_put(state, device) for state, device in zip(states, devices, strict=True)]

    def put(self, batches: Sequence[PyTree]) -> list[PyTree]:
        """Send each batch to its device."""
        return self.place(batches)

    def compile(self, step: Step, states: list[PyTree], batches: list[PyTree]) -> Any:
        """Compile a step for each device. Like that of `Vmapped` it returns metrics (runs, ...) on the first device."""
        program = jax.jit(step, donate_argnums=0)
        programs = [program.lower(*arguments).compile() for arguments in zip(states, batches, strict=True)]

        def together(states: list[PyTree], batches: list[PyTree]) -> tuple[list[PyTree], PyTree]:
            results = [run(*arguments) for run, *arguments in zip(programs, states, batches, strict=True)]
            states, metrics = map(list, zip(*results, strict=True))
            return states, _stack(jax.device_put(metrics, jax.local_devices()[0]))

        return together

    def take(self, states: list[PyTree], run: int) -> PyTree:
        """Return the state of one run, on the first device."""
        return jax.device_put(states[run], jax.local_devices()[0])


Together = Vmapped | OneADevice


def together(kind: Kind) -> Together:
    """Return the object that trains several runs in the way of this name."""
    return Vmapped() if kind == "vmapped" else OneADevice()


@cache
def _vmapped(step: Step) -> Any:
    """Jit a vmapped step; cached, since jax finds what it has compiled by the identity of a function."""
    return jax.jit(jax.vmap(step), donate_argnums=0)


@jax.jit
def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def _index(states: PyTree, run: int) -> PyTree:
    """Return the state of one run; compiled once, since `run` is an argument (a slice for each costs XLA seconds)."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, run, keepdims=False), states)
