"""The replay: who is drawn how often, and what a return of n steps is, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.environments import Transitions
from jaxlm.environments.off_policy.replay import ReplaySpec, draw_places, n_step, remember, reprioritise, start_replay
from jaxlm.errors import BadInput

RINGS, ROOM = 2, 6


def moves(first, count, seed=0):
    """Steps number first, first + 1, ... of each ring, whose rewards are their numbers; some end an episode."""
    numbers = np.arange(first, first + count, dtype=np.float32)[:, None] + 100 * np.arange(RINGS, dtype=np.float32)
    ends = np.random.default_rng(seed).random((2, 1000, RINGS))[:, first : first + count] < 0.25
    terminated, truncated = ends[0], ends[1] & ~ends[0]
    seen, action = numbers[..., None], numbers.astype(np.int32)
    return Transitions(seen, action, numbers, terminated, truncated, seen + 0.5, numbers, action, None)


def filled(steps=9):
    """Rings that have been written over, in pieces of several lengths."""
    replay = start_replay(moves(0, 4), ROOM)
    for first, count in ((4, 1), (5, steps - 5)):
        replay = jax.jit(remember)(replay, moves(first, count))
    return replay


def test_the_oldest_are_written_over():
    rewards = np.asarray(filled().items["reward"])
    assert sorted(rewards[0]) == [3, 4, 5, 6, 7, 8]
    assert sorted(rewards[1]) == [103, 104, 105, 106, 107, 108]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("written", [5, 9])
def test_frequencies_are_priorities_and_weights_their_inverse(steps, written):
    replay = filled(written) if written > 5 else start_replay(moves(0, 5), ROOM)
    priority = np.random.default_rng(1).random((RINGS, ROOM)).astype(np.float32)
    priority[0, 1] = 0
    replay = replay._replace(priority=jnp.asarray(priority))
    count, keys = 500, jax.random.split(jax.random.key(0), RINGS)
    drawn = jax.jit(draw_places, static_argnums=(2, 3))(replay, keys, count, steps)
    ages = np.arange(steps - 1, min(written, ROOM))
    eligible = (written - 1 - ages) % ROOM
    for ring in range(RINGS):
        share = np.zeros(ROOM)
        share[eligible] = priority[ring, eligible] / priority[ring, eligible].sum()
        found = np.bincount(drawn.place_BK[ring], minlength=ROOM)
        assert np.abs(found - count * share).max() < 2  # one draw from each of `count` equal parts
        expected = 1 / (len(eligible) * share[np.asarray(drawn.place_BK[ring])])
        np.testing.assert_allclose(drawn.weight_BK[ring], expected, rtol=1e-4)


def test_uniform_draws_are_of_all_that_can_be_drawn():
    keys = jax.random.split(jax.random.key(0), RINGS)
    drawn = draw_places(filled(), keys, 4000, steps=3, uniform=True)
    rewards = np.take_along_axis(np.asarray(filled().items["reward"]), np.asarray(drawn.place_BK), 1)
    for ring in range(RINGS):
        numbers, counts = np.unique(rewards[ring] - 100 * ring, return_counts=True)
        np.testing.assert_array_equal(numbers, [3, 4, 5, 6])  # 7 and 8 are not followed by two more
        assert np.abs(counts - 1000).max() < 150
    np.testing.assert_array_equal(drawn.weight_BK, 1)


def test_what_is_drawn_of_a_ring_does_not_depend_on_the_others():
    replay, keys = filled(), jax.random.split(jax.random.key(3), RINGS)
    alone = jax.tree.map(lambda x: x[1:] if jnp.ndim(x) else x, replay)
    whole, part = draw_places(replay, keys, 8), draw_places(alone, keys[1:], 8)
    np.testing.assert_array_equal(part.place_BK[0], whole.place_BK[1])


def test_new_transitions_have_the_largest_priority():
    replay = filled()
    np.testing.assert_array_equal(replay.priority, 1)
    place = np.array([[2, 4], [0, 0]])
    replay = reprioritise(replay, place, jnp.array([[3.0, 0.5], [0.25, 0.25]]))
    np.testing.assert_array_equal(replay.priority, [[1, 1, 3, 1, 0.5, 1], [0.25, 1, 1, 1, 1, 1]])
    replay = remember(replay, moves(9, 1))
    np.testing.assert_array_equal(replay.priority[:, 9 % ROOM], [3, 1])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_returns_stop_where_episodes_end_and_go_on_where_they_are_cut(steps):
    discount, length = 0.9, 40
    played = moves(0, length, seed=5)
    place = np.tile(np.arange(length - steps), (RINGS, 1))
    found = jax.jit(n_step, static_argnums=2)(start_replay(played, length), place, steps, discount)
    kinds = set()
    for row, (ring, first) in enumerate(np.ndindex(RINGS, length - steps)):
        total, power = 0.0, 1.0
        for step in range(first, first + steps):
            total, power = total + power * played.reward[step, ring], power * discount
            if played.terminated[step, ring] or played.truncated[step, ring]:
                break
        bootstrap = 0.0 if played.terminated[step, ring] else power
        kinds.add((bool(played.terminated[step, ring]), bool(played.truncated[step, ring])))
        assert found["return"][row] == pytest.approx(total, rel=1e-5)
        assert found["bootstrap"][row] == pytest.approx(bootstrap, rel=1e-5)
        assert found["observation"][row] == first + 100 * ring
        assert found["next_observation"][row] == step + 100 * ring + 0.5  # of before the reset
    assert len(kinds) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 9}, "replay.batch is 9: it must be a positive multiple of the 2 environments"),
        ({"capacity": 0}, "replay.capacity is 0"),
        ({"steps": 11}, "replay has steps 11, prefill 20"),
        ({"capacity": 18}, "capacity 18"),
        ({"beta": 1.5}, "beta 1.5"),
        ({"floor": 0.0}, "floor 0.0"),
        ({"alpha": float("nan")}, "alpha nan"),
    ],
)
def test_numbers_that_cannot_be_are_named(fields, message):
    with pytest.raises(BadInput, match=message):
        ReplaySpec(**{"capacity": 100, "batch": 8, "prefill": 20, **fields}).check(2)
