"""Act by numbers from -1 to 1, whatever the range of an environment's actions is."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Environment, PyTree, TimeStep
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class UnitActions:
    """An environment whose actions are from -1 to 1, mapped to the range of the one inside.

    Attributes:
        inside: an environment with a `Box` of actions that has finite ends.

    Raises:
        BadInput: its actions are to choose from, or have no ends.
    """

    inside: Environment

    def __post_init__(self) -> None:
        space, name = self.inside.action_space, type(self.inside).__name__
        if not isinstance(space, Box):
            raise BadInput(f"{name} has actions to choose from, {space}: take an agent for these, such as a DQN")
        if not all(math.isfinite(x) for x in (*_flat(space.low), *_flat(space.high))):
            raise BadInput(f"{name} has actions without ends, {space}: this agent needs the least and the largest")

    @property
    def observation_space(self) -> Box:
        """Return the space of the environment inside."""
        return self.inside.observation_space

    @property
    def action_space(self) -> Box:
        """Return the space of actions from -1 to 1."""
        return Box(-1.0, 1.0, self.inside.action_space.shape)  # type: ignore[union-attr]

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Return (state, observation) at the start of an episode."""
        return self.inside.reset(key)

    def step(self, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[PyTree, TimeStep]:
        """Return (state, time step) after the action that this one represents."""
        return self.inside.step(state, self.outside(action), key)

    def outside(self, action: jax.Array) -> jax.Array:
        """Map actions [..., *shape] from -1 to 1 to those of the environment inside."""
        space: Any = self.inside.action_space
        low, high = (jnp.reshape(jnp.asarray(_flat(x), jnp.float32), (-1,)) for x in (space.low, space.high))
        low, high = (jnp.broadcast_to(x, (space.size,)).reshape(space.shape) for x in (low, high))
        low, high = (jnp.broadcast_to(x, action.shape) for x in (low, high))
        return low + (action + 1) / 2 * (high - low)


def _flat(x: float | tuple[float, ...]) -> tuple[float, ...]:
    return x if isinstance(x, tuple) else (x,)
