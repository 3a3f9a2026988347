"""The protocol of environments: what an agent acts in, as pure functions of a state, an action and a key."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any


@dataclass(frozen=True)
class Discrete:
    """Actions 0 to n - 1, int32 scalars.

    Attributes:
        n: how many.
    """

    n: int

    @property
    def size(self) -> int:
        """Return how many outputs a model needs for it: one an action."""
        return self.n


@dataclass(frozen=True)
class Box:
    """Real arrays of one shape, float32.

    Attributes:
        low: smallest value, one for all entries or one an entry (flat); -inf where there is none.
        high: largest value, likewise.
        shape: of one array.
    """

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Return how many numbers an array has."""
        return math.prod(self.shape)


class TimeStep(NamedTuple):
    """What an environment answers to an action.

    Attributes:
        observation: float32 array of the observation space, of the state after the action and before any reset.
        reward: float32 scalar.
        terminated: bool scalar, whether the task has ended: nothing follows, so its value is 0.
        truncated: bool scalar, whether a time limit has cut the episode: the value of what would follow still counts.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Environment(Protocol):
    """One environment, without a batch axis: `jax.vmap` makes many. A frozen dataclass, so that a config can hold it.

    Its state is a pytree of arrays that holds all that the next step depends on, the steps so far of the time limit
    included. So a state that is saved in the middle of an episode goes on to the same bits.
    """

    @property
    def observation_space(self) -> Box:
        """Return the space of observations."""

    @property
    def action_space(self) -> Discrete | Box:
        """Return the space of actions."""

    def reset(self, key: jax.Array) -> tuple[PyTree, jax.Array]:
        """Return (state, observation) at the start of an episode drawn from a typed PRNG key."""

    def step(self, state: PyTree, action: jax.Array, key: jax.Array) -> tuple[PyTree, TimeStep]:
        """Return (state, outcome) after one action. It never resets; see `jaxlm.environments.rollout`.

        Args:
            state: of the environment.
            action: int32 scalar, or float32 of the shape of the action space.
            key: typed PRNG key of this step; environments without chance ignore it.
        """
