"""CartPole: balance a pole on a cart by pushing the cart left or right."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Discrete, TimeStep

GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MAX_ANGLE, MAX_POSITION = 12 * 2 * math.pi / 360, 2.4


class CartPoleState(NamedTuple):
    """Position and velocity of the cart, angle and angular velocity of the pole (float32 [4]), and steps so far."""

    values: jax.Array
    steps: jax.Array


@dataclass(frozen=True)
class CartPole:
    """Keep a pole upright for `max_steps` steps; the reward is 1 a step (Barto, Sutton & Anderson 1983).

    Law: equal to gymnasium's CartPole-v1 step for step.

    Attributes:
        max_steps: steps after which an episode is truncated.
    """

    max_steps: int = 500

    @property
    def observation_space(self) -> Box:
        """Return the space of [position, velocity, angle, angular velocity]."""
        high = (2 * MAX_POSITION, math.inf, 2 * MAX_ANGLE, math.inf)
        return Box(tuple(-x for x in high), high, (4,))

    @property
    def action_space(self) -> Discrete:
        """Return the pushes: 0 to the left, 1 to the right."""
        return Discrete(2)

    def reset(self, key: jax.Array) -> tuple[CartPoleState, jax.Array]:
        """Return (state, observation) with all four values in +-0.05."""
        values = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return CartPoleState(values, jnp.zeros((), jnp.int32)), values

    def step(self, state: CartPoleState, action: jax.Array, key: jax.Array) -> tuple[CartPoleState, TimeStep]:
        """Return (state, outcome) after one push, by Euler's method."""
        _, velocity, angle, turning = state.values
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        mass, moment = CART_MASS + POLE_MASS, POLE_MASS * HALF_LENGTH
        push = (jnp.where(action == 1, FORCE, -FORCE) + moment * turning**2 * sin) / mass
        turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cos**2 / mass))
        speed_up = push - moment * turn * cos / mass
        values = state.values + SECONDS * jnp.stack([velocity, speed_up, turning, turn])
        steps = state.steps + 1
        terminated = (jnp.abs(values[0]) > MAX_POSITION) | (jnp.abs(values[2]) > MAX_ANGLE)
        outcome = TimeStep(values, jnp.ones(()), terminated, (steps >= self.max_steps) & ~terminated)
        return CartPoleState(values, steps), outcome
