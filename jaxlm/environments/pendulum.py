"""Pendulum: swing a pendulum up and hold it there, by a torque that is a real number."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, TimeStep

GRAVITY, MASS, LENGTH, SECONDS, MAX_SPEED, MAX_TORQUE = 10.0, 1.0, 1.0, 0.05, 8.0, 2.0


class PendulumState(NamedTuple):
    """Angle from upright, in radians and never wrapped, angular velocity (float32 scalars), and steps so far."""

    angle: jax.Array
    velocity: jax.Array
    steps: jax.Array


@dataclass(frozen=True)
class Pendulum:
    """Hold a pendulum upright; the reward is minus a cost of angle, speed and torque. Episodes are only truncated.

    Law: equal to gymnasium's Pendulum-v1 step for step.

    Attributes:
        max_steps: steps after which an episode is truncated.
    """

    max_steps: int = 200

    @property
    def observation_space(self) -> Box:
        """Return the space of [cos, sin of the angle, velocity]."""
        return Box((-1.0, -1.0, -MAX_SPEED), (1.0, 1.0, MAX_SPEED), (3,))

    @property
    def action_space(self) -> Box:
        """Return the torques; those beyond it are clipped."""
        return Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    def reset(self, key: jax.Array) -> tuple[PendulumState, jax.Array]:
        """Return (state, observation) at any angle, with a velocity in +-1."""
        angle, velocity = jax.random.uniform(key, (2,), minval=-1.0) * jnp.array([math.pi, 1.0])
        return PendulumState(angle, velocity, jnp.zeros((), jnp.int32)), _observe(angle, velocity)

    def step(self, state: PendulumState, action: jax.Array, key: jax.Array) -> tuple[PendulumState, TimeStep]:
        """Return (state, time step) after one torque."""
        angle, velocity, steps = state
        torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
        wrapped = jnp.mod(angle + math.pi, 2 * math.pi) - math.pi
        cost = wrapped**2 + 0.1 * velocity**2 + 0.001 * torque**2
        turn = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(angle) + 3.0 / (MASS * LENGTH**2) * torque
        velocity = jnp.clip(velocity + turn * SECONDS, -MAX_SPEED, MAX_SPEED)
        angle, steps = angle + velocity * SECONDS, steps + 1
        now = TimeStep(_observe(angle, velocity), -cost, jnp.zeros((), bool), steps >= self.max_steps)
        return PendulumState(angle, velocity, steps), now


def _observe(angle: jax.Array, velocity: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), velocity])
