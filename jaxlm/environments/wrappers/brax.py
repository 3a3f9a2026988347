"""Environments of brax, whose physics are pure functions, and run inside the compiled step as jaxlm's own do."""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.environments.protocol import Box, PyTree, TimeStep
from jaxlm.errors import BadInput


class BraxState(NamedTuple):
    """What brax holds, and the steps so far of the time limit, int32."""

    inner: PyTree
    steps: jax.Array


@dataclass(frozen=True)
class Brax:
    """An environment of brax 0.12 and later; actions are between -1 and 1.

    Attributes:
        name: such as "inverted_pendulum" or "ant".
        backend: of the physics: "generalized", "spring", "positional" or "mjx".
        limit: steps of an episode before it is cut.
    """

    name: str
    backend: str = "generalized"
    limit: int = 1000

    @property
    def observation_space(self) -> Box:
        """Return the space of observations."""
        return Box(-np.inf, np.inf, (int(_made(self.name, self.backend).observation_size),))

    @property
    def action_space(self) -> Box:
        """Return the space of actions."""
        return Box(-1.0, 1.0, (int(_made(self.name, self.backend).action_size),))

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Return (state, observation) at the start of an episode."""
        inner = jax.tree.map(jnp.asarray, _made(self.name, self.backend).reset(key))
        return BraxState(inner, jnp.int32(0)), jnp.asarray(inner.obs, jnp.float32)

    def step(self, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[PyTree, TimeStep]:
        """Return (state, time step) after one action; there is no chance in it."""
        del key
        found = _made(self.name, self.backend).step(state.inner, action)
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype).reshape(old.shape), found, state.inner)
        after = BraxState(inner, state.steps + 1)
        terminated = inner.done > 0
        truncated = (after.steps >= self.limit) & ~terminated
        return after, TimeStep(
            jnp.asarray(inner.obs, jnp.float32), jnp.asarray(inner.reward, jnp.float32), terminated, truncated
        )


@cache
def _made(name: str, backend: str) -> Any:
    try:
        from brax import envs
    except ImportError as error:
        raise BadInput(f"an environment of brax needs it ({error}): pip install brax") from None
    try:
        return envs.get_environment(name, backend=backend)
    except KeyError:
        raise BadInput(f"brax has no environment {name}: take one of {', '.join(sorted(envs._envs))}") from None
    except ValueError as error:
        raise BadInput(f"brax cannot make {name} with the backend {backend}: {error}") from None
