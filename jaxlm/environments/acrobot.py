"""Acrobot: swing two linked rods up by a torque at the joint between them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Discrete, TimeStep

LENGTH, MASS, CENTRE, INERTIA, GRAVITY, SECONDS = 1.0, 1.0, 0.5, 1.0, 9.8, 0.2
MAX_SPEEDS = (4 * math.pi, 9 * math.pi)


class AcrobotState(NamedTuple):
    """Angles of both rods (the second relative to the first) and their velocities, float32 [4], and steps so far."""

    values: jax.Array
    steps: jax.Array


@dataclass(frozen=True)
class Acrobot:
    """Swing the free end above a line; the reward is -1 a step, and 0 where it ends (Sutton 1996).

    Law: equal to gymnasium's Acrobot-v1 step for step.

    Attributes:
        max_steps: steps after which an episode is truncated.
    """

    max_steps: int = 500

    @property
    def observation_space(self) -> Box:
        """Return the space of [cos, sin of the first angle, cos, sin of the second, both velocities]."""
        high = (1.0, 1.0, 1.0, 1.0, *MAX_SPEEDS)
        return Box(tuple(-x for x in high), high, (6,))

    @property
    def action_space(self) -> Discrete:
        """Return the torques: -1, 0, 1."""
        return Discrete(3)

    def reset(self, key: jax.Array) -> tuple[AcrobotState, jax.Array]:
        """Return (state, observation) with all four values in +-0.1: both rods hang down."""
        values = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return AcrobotState(values, jnp.zeros((), jnp.int32)), _observe(values)

    def step(self, state: AcrobotState, action: jax.Array, key: jax.Array) -> tuple[AcrobotState, TimeStep]:
        """Return (state, time step) after one torque, by the method of Runge and Kutta of order 4."""
        torque, values = (action - 1).astype(jnp.float32), state.values
        first = _slope(values, torque)
        second = _slope(values + SECONDS / 2 * first, torque)
        third = _slope(values + SECONDS / 2 * second, torque)
        fourth = _slope(values + SECONDS * third, torque)
        values = values + SECONDS / 6 * (first + 2 * second + 2 * third + fourth)
        angles = jnp.mod(values[:2] + math.pi, 2 * math.pi) - math.pi
        limit = jnp.array(MAX_SPEEDS)
        values = jnp.concatenate([angles, jnp.clip(values[2:], -limit, limit)])
        steps = state.steps + 1
        terminated = -jnp.cos(values[0]) - jnp.cos(values[1] + values[0]) > 1.0
        reward = jnp.where(terminated, 0.0, -1.0)
        now = TimeStep(_observe(values), reward, terminated, (steps >= self.max_steps) & ~terminated)
        return AcrobotState(values, steps), now


def _observe(values: jax.Array) -> jax.Array:
    cos, sin = jnp.cos(values[:2]), jnp.sin(values[:2])
    return jnp.stack([cos[0], sin[0], cos[1], sin[1], values[2], values[3]])


def _slope(values: jax.Array, torque: jax.Array) -> jax.Array:
    """Return the time derivative of the state (Sutton & Barto 1998, section 11.3)."""
    angle_1, angle_2, speed_1, speed_2 = values
    cos, sin = jnp.cos(angle_2), jnp.sin(angle_2)
    d1 = MASS * CENTRE**2 + MASS * (LENGTH**2 + CENTRE**2 + 2 * LENGTH * CENTRE * cos) + 2 * INERTIA
    d2 = MASS * (CENTRE**2 + LENGTH * CENTRE * cos) + INERTIA
    phi2 = MASS * CENTRE * GRAVITY * jnp.cos(angle_1 + angle_2 - math.pi / 2)
    swing = MASS * LENGTH * CENTRE * sin
    phi1 = -swing * speed_2**2 - 2 * swing * speed_2 * speed_1 + phi2
    phi1 = phi1 + (MASS * CENTRE + MASS * LENGTH) * GRAVITY * jnp.cos(angle_1 - math.pi / 2)
    turn_2 = torque + d2 / d1 * phi1 - swing * speed_1**2 - phi2
    turn_2 = turn_2 / (MASS * CENTRE**2 + INERTIA - d2**2 / d1)
    return jnp.stack([speed_1, speed_2, -(d2 * turn_2 + phi1) / d1, turn_2])
