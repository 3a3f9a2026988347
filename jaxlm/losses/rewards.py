"""Rewards of answers that are computed from their characters, for a language model to be tuned on.

P characters of a prompt, T characters of an answer.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

ZERO, NINE = ord("0"), ord("9")


class Reward(Protocol):
    """A frozen dataclass that says how good one answer to one prompt is; `jax.vmap` makes many."""

    def __call__(self, prompt_P: jax.Array, answer_T: jax.Array) -> jax.Array:
        """Return a float32 scalar; 1 is a right answer.

        Args:
            prompt_P: code points, int32.
            answer_T: code points, int32; 0 where the answer has ended.
        """


@dataclass(frozen=True)
class SortedDigits:
    """Reward the digits of the prompt in ascending order: the share of right places, the end counted."""

    def __call__(self, prompt_P: jax.Array, answer_T: jax.Array) -> jax.Array:
        """Return the reward of one answer; it needs room for an end after the digits."""
        digit_P = _is_digit(prompt_P)
        ordered_P = jnp.sort(jnp.where(digit_P, prompt_P, NINE + 1))
        expected_P = jnp.where(ordered_P <= NINE, ordered_P, 0)
        return _share_right(expected_P, answer_T, digit_P.sum() + 1)


@dataclass(frozen=True)
class DigitSum:
    """Reward the sum of the digits of the prompt, below 100: the share of right places, the end counted."""

    def __call__(self, prompt_P: jax.Array, answer_T: jax.Array) -> jax.Array:
        """Return the reward of one answer; it needs room for two digits and an end."""
        total = jnp.where(_is_digit(prompt_P), prompt_P - ZERO, 0).sum()
        tens, ones = ZERO + total // 10, ZERO + total % 10
        expected_3 = jnp.where(total < 10, jnp.stack([ones, 0, 0]), jnp.stack([tens, ones, 0]))
        return _share_right(expected_3, answer_T, jnp.where(total < 10, 2, 3))


def _is_digit(points: jax.Array) -> jax.Array:
    return (points >= ZERO) & (points <= NINE)


def _share_right(expected: jax.Array, answer_T: jax.Array, places: jax.Array) -> jax.Array:
    """Return the share of the first `places` at which two texts agree, the end of a text being one place."""
    size = max(len(expected), len(answer_T))
    ends_T = (answer_T == 0).astype(jnp.int32)
    answer_T = jnp.where(jnp.cumsum(ends_T) > ends_T, -1, answer_T)
    expected = jnp.pad(expected, (0, size - len(expected)))
    answer = jnp.pad(answer_T, (0, size - len(answer_T)), constant_values=-1)
    return ((expected == answer) & (jnp.arange(size) < places)).sum() / places.astype(jnp.float32)
