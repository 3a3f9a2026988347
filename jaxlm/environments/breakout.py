"""Breakout as MinAtar has it: bounce a ball off a paddle to break bricks, on a board of 10 x 10."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Discrete, TimeStep

SIZE = 10
FULL = (1, 2, 3)  # rows of bricks


class BreakoutState(NamedTuple):
    """The board between two steps.

    Attributes:
        x, y: of the ball, int32 scalars; y is 0 at the top.
        last_x, last_y: of the ball before its last move, which an agent sees as its trail.
        right, down: whether the ball moves so, bool scalars; it moves on diagonals only.
        paddle: its column in the last row, int32 scalar.
        bricks: bool [10, 10].
        strike: whether the ball was in a brick at the last step, which breaks one brick at a time; bool scalar.
        action: the last one taken, which is taken again by chance; int32 scalar.
        steps: so far, int32 scalar.
    """

    x: jax.Array
    y: jax.Array
    last_x: jax.Array
    last_y: jax.Array
    right: jax.Array
    down: jax.Array
    paddle: jax.Array
    bricks: jax.Array
    strike: jax.Array
    action: jax.Array
    steps: jax.Array


@dataclass(frozen=True)
class Breakout:
    """Break bricks for a reward of 1 each; new ones come when all are gone (Young & Tian 2019, arXiv:1903.03176).

    Law: equal to MinAtar's Breakout step for step, with its minimal set of actions.

    Attributes:
        max_steps: steps after which an episode is truncated, which MinAtar has not.
        sticky: chance that the last action is taken again in the place of the one chosen.
    """

    max_steps: int = 1000
    sticky: float = 0.1

    @property
    def observation_space(self) -> Box:
        """Return the space of boards of four channels, 0 or 1: paddle, ball, trail, bricks."""
        return Box(0.0, 1.0, (SIZE, SIZE, 4))

    @property
    def action_space(self) -> Discrete:
        """Return the moves of the paddle: 0 none, 1 to the left, 2 to the right."""
        return Discrete(3)

    def reset(self, key: jax.Array) -> tuple[BreakoutState, jax.Array]:
        """Return (state, observation) with the ball on the left or the right, under three rows of bricks."""
        left, zero = jax.random.bernoulli(key), jnp.zeros((), jnp.int32)
        x, y = jnp.where(left, 0, SIZE - 1), zero + 3
        on = jnp.ones((), bool)
        state = BreakoutState(x, y, x, y, left, on, zero + 4, _full(), ~on, zero, zero)
        return state, _observe(state)

    def step(self, state: BreakoutState, action: jax.Array, key: jax.Array) -> tuple[BreakoutState, TimeStep]:
        """Return (state, time step) after one move of the paddle and of the ball."""
        action = jnp.where(jax.random.bernoulli(key, self.sticky), state.action, action).astype(jnp.int32)
        paddle = jnp.clip(state.paddle + jnp.where(action == 1, -1, 0) + jnp.where(action == 2, 1, 0), 0, SIZE - 1)
        x, y = state.x + jnp.where(state.right, 1, -1), state.y + jnp.where(state.down, 1, -1)
        wall = (x < 0) | (x > SIZE - 1)
        right, x = state.right ^ wall, jnp.clip(x, 0, SIZE - 1)
        roof = y < 0
        y = jnp.maximum(y, 0)

        here = (jnp.arange(SIZE)[:, None] == y) & (jnp.arange(SIZE)[None] == x)
        inside = ~roof & (here & state.bricks).any()
        breaks = inside & ~state.strike
        bricks = state.bricks & ~(here & breaks)

        low = ~roof & ~inside & (y == SIZE - 1)
        bricks = jnp.where(low & ~bricks.any(), _full(), bricks)
        straight, corner = low & (state.x == paddle), low & (state.x != paddle) & (x == paddle)
        right, down = right ^ corner, state.down ^ (roof | breaks | straight | corner)
        y = jnp.where(breaks | straight | corner, state.y, y)
        terminated, steps = low & ~straight & ~corner, state.steps + 1
        state = BreakoutState(x, y, state.x, state.y, right, down, paddle, bricks, inside, action, steps)
        truncated = (steps >= self.max_steps) & ~terminated
        return state, TimeStep(_observe(state), breaks.astype(jnp.float32), terminated, truncated)


def _full() -> jax.Array:
    rows = jnp.arange(SIZE)[:, None]
    return jnp.broadcast_to((rows >= FULL[0]) & (rows <= FULL[-1]), (SIZE, SIZE))


def _observe(state: BreakoutState) -> jax.Array:
    row, column = jnp.arange(SIZE)[:, None], jnp.arange(SIZE)[None]
    paddle = (row == SIZE - 1) & (column == state.paddle)
    ball = (row == state.y) & (column == state.x)
    trail = (row == state.last_y) & (column == state.last_x)
    return jnp.stack([paddle, ball, trail, state.bricks], -1).astype(jnp.float32)
