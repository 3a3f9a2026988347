"""Environments of gymnax, which are pure functions too, and run inside the compiled step as jaxlm's own do."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.environments.protocol import Box, Discrete, PyTree, TimeStep
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Gymnax:
    """An environment of gymnax 1.0 and later, with its own parameters.

    Attributes:
        name: such as "Asterix-MinAtar".
    """

    name: str

    @property
    def observation_space(self) -> Box:
        """Return the space of observations."""
        made, params = _made(self.name)
        return Box(-np.inf, np.inf, tuple(made.observation_space(params).shape))

    @property
    def action_space(self) -> Discrete | Box:
        """Return the space of actions."""
        made, params = _made(self.name)
        space = made.action_space(params)
        if hasattr(space, "n"):
            return Discrete(int(space.n))
        low, high = (np.broadcast_to(np.asarray(x, np.float32), space.shape) for x in (space.low, space.high))
        return Box(tuple(map(float, low.flat)), tuple(map(float, high.flat)), tuple(space.shape))

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Return (state, observation) at the start of an episode."""
        made, params = _made(self.name)
        observation, state = made.reset_env(key, params)
        return jax.tree.map(jnp.asarray, state), jnp.asarray(observation, jnp.float32)

    def step(self, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[PyTree, TimeStep]:
        """Return (state, time step) after one action."""
        made, params = _made(self.name)
        observation, after, reward, terminated, _ = made.step_env(key, state, action, params)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype).reshape(old.shape), after, state)
        terminated = jnp.asarray(terminated, bool)
        truncated = jnp.asarray(made.is_truncated(after, params), bool) & ~terminated
        seen = jnp.asarray(observation, jnp.float32)
        return after, TimeStep(seen, jnp.asarray(reward, jnp.float32).reshape(()), terminated, truncated)


@cache
def _made(name: str) -> tuple[Any, Any]:
    try:
        import gymnax
    except ImportError as error:
        raise BadInput(f"an environment of gymnax needs it ({error}): pip install gymnax") from None
    try:
        return gymnax.make(name)
    except ValueError as error:
        raise BadInput(f"gymnax cannot make {name}: {str(error).splitlines()[0]}") from None
