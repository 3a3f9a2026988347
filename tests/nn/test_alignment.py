"""Monotonic alignment against an exhaustive search, and vectors of tokens repeated over their frames."""

from itertools import combinations

import jax
import numpy as np
import pytest

from jaxlm.nn.alignment import monotonic_alignment, spread_over_frames

align = jax.jit(monotonic_alignment)


def exhaustive(scores_LT):
    """The durations with the largest sum of scores, over all ways to cut the frames into one run a token."""
    tokens, frames = scores_LT.shape
    best, found = -np.inf, None
    for cuts in combinations(range(1, frames), tokens - 1):
        edges = [0, *cuts, frames]
        total = sum(scores_LT[token, edges[token] : edges[token + 1]].sum() for token in range(tokens))
        if total > best:
            best, found = total, np.diff(edges)
    return found


def test_durations_are_those_of_an_exhaustive_search_whatever_the_padding():
    draw = np.random.default_rng(0)
    sizes = [(tokens, frames) for tokens in (1, 2, 3, 4) for frames in (4, 5, 8)]
    scores = draw.normal(size=(len(sizes), 6, 10)).astype(np.float32)
    tokens, frames = (np.array(column, np.int32) for column in zip(*sizes, strict=True))
    found = np.asarray(align(scores, tokens, frames))
    for row, (count, length) in enumerate(sizes):
        expected = exhaustive(scores[row, :count, :length].astype(np.float64))
        np.testing.assert_array_equal(found[row], np.pad(expected, (0, 6 - count)))
        assert found[row].sum() == length


def test_equal_scores_still_give_every_token_a_frame():
    found = np.asarray(align(np.zeros((1, 3, 7), np.float32), np.int32([3]), np.int32([7])))
    assert found.sum() == 7
    assert found.min() >= 1


def test_as_many_frames_as_tokens_is_one_each():
    found = align(np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32), np.int32([4]), np.int32([4]))
    np.testing.assert_array_equal(found[0], [1, 1, 1, 1])


def test_no_gradient_is_taken_of_the_scores():
    def total(scores):
        return (monotonic_alignment(scores, np.int32([2]), np.int32([3])) * 1.0).sum()

    np.testing.assert_array_equal(jax.grad(total)(np.ones((1, 2, 3), np.float32)), 0)


@pytest.mark.parametrize("frames", [6, 9])
def test_vectors_are_repeated_over_their_frames(frames):
    x, durations = np.arange(12, dtype=np.float32).reshape(2, 3, 2), np.array([[2, 1, 3], [4, 0, 0]], np.int32)
    found = np.asarray(spread_over_frames(x, durations, frames))
    for row in range(2):
        expected = np.repeat(x[row], durations[row], axis=0)
        np.testing.assert_array_equal(found[row], np.pad(expected, ((0, frames - len(expected)), (0, 0))))
