"""MountainCar: drive an underpowered car out of a valley by swinging back and forth."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Discrete, TimeStep

FORCE, GRAVITY, MAX_SPEED, LEFT, RIGHT, GOAL = 0.001, 0.0025, 0.07, -1.2, 0.6, 0.5


class MountainCarState(NamedTuple):
    """Position and velocity of the car (float32 scalars), and steps so far."""

    position: jax.Array
    velocity: jax.Array
    steps: jax.Array


@dataclass(frozen=True)
class MountainCar:
    """Reach the hill on the right; the reward is -1 a step (Moore 1990; Sutton & Barto 2018, example 10.1).

    Law: equal to gymnasium's MountainCar-v0 step for step.

    Attributes:
        max_steps: steps after which an episode is truncated.
    """

    max_steps: int = 200

    @property
    def observation_space(self) -> Box:
        """Return the space of [position, velocity]."""
        return Box((LEFT, -MAX_SPEED), (RIGHT, MAX_SPEED), (2,))

    @property
    def action_space(self) -> Discrete:
        """Return the pushes: 0 to the left, 1 none, 2 to the right."""
        return Discrete(3)

    def reset(self, key: jax.Array) -> tuple[MountainCarState, jax.Array]:
        """Return (state, observation) with the car at rest between -0.6 and -0.4."""
        position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
        state = MountainCarState(position, jnp.zeros(()), jnp.zeros((), jnp.int32))
        return state, jnp.stack(state[:2])

    def step(self, state: MountainCarState, action: jax.Array, key: jax.Array) -> tuple[MountainCarState, TimeStep]:
        """Return (state, time step) after one push."""
        push = (action - 1) * FORCE - GRAVITY * jnp.cos(3 * state.position)
        velocity = jnp.clip(state.velocity + push, -MAX_SPEED, MAX_SPEED)
        position = jnp.clip(state.position + velocity, LEFT, RIGHT)
        velocity = jnp.where((position <= LEFT) & (velocity < 0), 0.0, velocity)
        steps = state.steps + 1
        terminated = (position >= GOAL) & (velocity >= 0)
        now = TimeStep(
            jnp.stack([position, velocity]), -jnp.ones(()), terminated, (steps >= self.max_steps) & ~terminated
        )
        return MountainCarState(position, velocity, steps), now
