"""What environments are and did, many at a time: worlds between two steps, and transitions."""

from typing import Any, NamedTuple

import jax

from jaxlm.environments.protocol import PyTree


class Worlds(NamedTuple):
    """Environments in the middle of their episodes; every leaf has the axis of environments first.

    Attributes:
        state: of the environments.
        observation: float32 [B, ...], what the agent sees now.
        score: float32 [B], undiscounted sum of the rewards of the episode so far.
        length: int32 [B], steps of the episode so far.
    """

    state: PyTree
    observation: jax.Array
    score: jax.Array
    length: jax.Array


class Transitions(NamedTuple):
    """Steps of environments. Every leaf is [T, B, ...] after `rollout` and [B, ...] after `advance`.

    There is no dead transition at an episode's end: the next observation is that of the state before the reset, so that
    a truncated episode can be bootstrapped from it.

    Attributes:
        observation: float32 [..., *observation], before the action.
        action: int32 or float32.
        reward: float32.
        terminated: bool, the task has ended.
        truncated: bool, a time limit has cut the episode.
        next_observation: float32, after the action and before any reset.
        score: float32, sum of the rewards of the episode up to here: that of the whole episode where it ends.
        length: int32, steps of the episode up to here.
        extras: what the policy returned beside the action, such as log-probabilities.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_observation: jax.Array
    score: jax.Array
    length: jax.Array
    extras: Any

    @property
    def done(self) -> jax.Array:
        """Return where an episode ends, for either reason; bool."""
        return self.terminated | self.truncated
