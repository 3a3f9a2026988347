"""Catch: move a paddle under a ball that falls."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Box, Discrete, TimeStep


class CatchState(NamedTuple):
    """Column and row of the ball and column of the paddle, int32 scalars."""

    column: jax.Array
    row: jax.Array
    paddle: jax.Array


@dataclass(frozen=True)
class Catch:
    """Catch a ball that falls one row a step; the reward is 1 or -1 at the end (Osband et al. 2020, bsuite).

    Attributes:
        rows: of the board; an episode has rows - 1 steps.
        columns: of the board.
    """

    rows: int = 10
    columns: int = 5

    @property
    def observation_space(self) -> Box:
        """Return the space of boards: 1 where the ball is and where the paddle is in the last row, else 0."""
        return Box(0.0, 1.0, (self.rows, self.columns))

    @property
    def action_space(self) -> Discrete:
        """Return the moves: 0 to the left, 1 none, 2 to the right."""
        return Discrete(3)

    def reset(self, key: jax.Array) -> tuple[CatchState, jax.Array]:
        """Return (state, observation) with the ball in any column of the first row and the paddle in the middle."""
        zero = jnp.zeros((), jnp.int32)
        state = CatchState(jax.random.randint(key, (), 0, self.columns), zero, zero + self.columns // 2)
        return state, self._observe(state)

    def step(self, state: CatchState, action: jax.Array, key: jax.Array) -> tuple[CatchState, TimeStep]:
        """Return (state, time step) after one move."""
        paddle = jnp.clip(state.paddle + action - 1, 0, self.columns - 1)
        state = CatchState(state.column, state.row + 1, paddle)
        ended = state.row == self.rows - 1
        reward = jnp.where(ended, jnp.where(state.paddle == state.column, 1.0, -1.0), 0.0)
        return state, TimeStep(self._observe(state), reward, ended, jnp.zeros((), bool))

    def _observe(self, state: CatchState) -> jax.Array:
        row, column = jnp.arange(self.rows)[:, None], jnp.arange(self.columns)[None]
        ball = (row == state.row) & (column == state.column)
        return (ball | ((row == self.rows - 1) & (column == state.paddle))).astype(jnp.float32)
