"""The loop that acts in many environments, on an environment whose every step is known; and those on the host."""

import runpy
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.environments import (
    Box,
    Brax,
    CartPole,
    Discrete,
    Gymnasium,
    Gymnax,
    TimeStep,
    advance,
    check_environment,
    play,
    rollout,
    start,
)
from jaxlm.environments.wrappers import host as on_host
from jaxlm.environments.wrappers.unit_actions import UnitActions
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Countdown:
    """Counts down from a number of its key; action 1 ends it; 5 steps cut it. The reward is the number before."""

    observation_space = Box(-9.0, 9.0, (1,))
    action_space = Discrete(2)
    broken_at: float = -99.0

    def reset(self, key):
        state = jnp.stack([jax.random.randint(key, (), 4, 9).astype(jnp.float32), 0.0])
        return state, state[:1]

    def step(self, state, action, key):
        after = state + jnp.array([-1.0, 1.0])
        seen = jnp.where(after[:1] == self.broken_at, jnp.nan, after[:1])
        return after, TimeStep(seen, state[0], action == 1, (after[1] >= 5) & (action != 1))


def keys(count=3):
    return jax.random.split(jax.random.key(7), count)


def test_transitions_show_what_came_before_a_reset():
    policy = lambda seen, _: ((seen[:, 0] == 5).astype(jnp.int32), seen[:, 0] * 10)  # noqa: E731
    worlds, seen = rollout(Countdown(), policy, start(Countdown(), keys()), keys(), 40)
    seen = jax.tree.map(np.asarray, seen)
    np.testing.assert_array_equal(seen.next_observation, seen.observation - 1)
    np.testing.assert_array_equal(seen.extras, 10 * seen.observation[..., 0])
    np.testing.assert_array_equal(seen.terminated, seen.observation[..., 0] == 5)
    assert seen.truncated.any()
    assert not (seen.truncated & seen.terminated).any()
    for b in range(3):
        score = length = 0
        for t in range(40):
            score, length = score + seen.reward[t, b], length + 1
            assert (seen.score[t, b], seen.length[t, b]) == (score, length)
            if seen.done[t, b]:
                score = length = 0
            elif t < 39:
                np.testing.assert_array_equal(seen.observation[t + 1, b], seen.next_observation[t, b])
        assert (worlds.score[b], worlds.length[b]) == (score, length)


def test_what_happens_in_an_environment_does_not_depend_on_the_others():
    policy = lambda seen, keys: (jax.vmap(lambda key: jax.random.randint(key, (), 0, 2))(keys), None)  # noqa: E731
    both = rollout(CartPole(), policy, start(CartPole(), keys(4)), keys(4), 30)[1]
    one = rollout(CartPole(), policy, start(CartPole(), keys(4)[2:3]), keys(4)[2:3], 30)[1]
    np.testing.assert_allclose(both.observation[:, 2], one.observation[:, 0], rtol=1e-6)


def test_an_evaluation_counts_each_episode_once():
    never = lambda seen, _: (jnp.zeros(len(seen), jnp.int32), None)  # noqa: E731
    score, length = play(Countdown(), never, keys(6))
    first = start(Countdown(), jax.vmap(lambda key: jax.random.split(key)[0])(keys(6))).observation[:, 0]
    assert length.tolist() == [5] * 6
    np.testing.assert_array_equal(score, 5 * first - 10)
    often = lambda seen, _: ((seen[:, 0] <= 6).astype(jnp.int32), None)  # noqa: E731
    assert play(Countdown(), often, keys(6))[1].tolist() == np.maximum(first - 5, 1).tolist()


def test_an_environment_that_gives_no_number_is_named():
    check_environment(Countdown())
    with pytest.raises(BadInput, match=r"Countdown gives an observation that is not finite after \d steps"):
        check_environment(Countdown(broken_at=3.0))


def test_an_environment_of_other_spaces_is_named():
    @dataclass(frozen=True)
    class Wide(Countdown):
        observation_space = Box(0.0, 1.0, (2,))

    @dataclass(frozen=True)
    class Odd(Countdown):
        def step(self, state, action, key):
            after, now = super().step(state, action, key)
            return after.astype(jnp.int32), now

    with pytest.raises(BadInput, match=r"Wide.reset gives an observation float32\[1\], and its observation_space says"):
        check_environment(Wide())
    with pytest.raises(BadInput, match="Odd.step gives a state of other shapes or dtypes"):
        check_environment(Odd())


def test_gymnasium_on_the_host_gives_its_own_steps():
    gymnasium = pytest.importorskip("gymnasium")
    environment = Gymnasium("CartPole-v1")
    assert (environment.observation_space.shape, environment.action_space) == ((4,), Discrete(2))
    policy = lambda seen, keys: (jax.vmap(lambda key: jax.random.randint(key, (), 0, 2))(keys), None)  # noqa: E731
    play_all = jax.jit(lambda keys: rollout(environment, policy, start(environment, keys), keys, 150)[1])
    seen = jax.tree.map(np.asarray, play_all(keys()))
    assert seen.done.any(0).all()
    for b in range(3):
        theirs = gymnasium.make("CartPole-v1")
        now, _ = theirs.reset(seed=int(jax.random.key_data(keys())[b, 1]))
        for t in range(int(np.argmax(seen.done[:, b])) + 1):
            np.testing.assert_array_equal(seen.observation[t, b], now)
            now, reward, terminated, _, _ = theirs.step(seen.action[t, b])
            np.testing.assert_array_equal(seen.next_observation[t, b], now)
            assert (seen.reward[t, b], seen.terminated[t, b]) == (reward, terminated)
        assert seen.length[t + 1, b] == 1
        assert np.abs(seen.observation[t + 1, b]).max() <= 0.05


def test_actions_from_minus_one_to_one_are_mapped_on_the_host():
    pytest.importorskip("gymnasium")
    environment, unit = Gymnasium("Pendulum-v1"), jnp.array([[0.25], [-1.0], [1.0]])
    assert environment.action_space == Box((-2.0,), (2.0,), (1,))
    found = []
    for inside, actions in ((environment, 2 * unit), (UnitActions(environment), unit)):
        worlds = start(inside, keys())
        found.append(advance(inside, worlds, actions, keys())[1])
    np.testing.assert_array_equal(found[1].action, unit)
    jax.tree.map(np.testing.assert_array_equal, found[0]._replace(action=unit), found[1])


def test_a_session_that_is_gone_cuts_its_episodes():
    pytest.importorskip("gymnasium")
    environment = Gymnasium("CartPole-v1")
    worlds = start(environment, keys())
    policy = lambda seen, _: (jnp.zeros(len(seen), jnp.int32), None)  # noqa: E731
    worlds, _ = rollout(environment, policy, worlds, keys(), 3)
    on_host._open.clear()
    worlds, seen = rollout(environment, policy, worlds, keys(), 2)
    assert seen.truncated.tolist() == [[True] * 3, [False] * 3]
    np.testing.assert_array_equal(seen.next_observation[0], seen.observation[0])
    assert seen.length.tolist() == [[4] * 3, [1] * 3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reward": jnp.ones(1)}, r"Given.step gives a reward float32\[1\]: give a scalar number"),
        ({"reward": jnp.bool_(True)}, r"Given.step gives a reward bool\[\]"),
        ({"terminated": jnp.float32(0)}, r"Given.step gives terminated as float32\[\]: give a scalar that is true or"),
        ({"truncated": jnp.zeros(1, bool)}, r"Given.step gives truncated as bool\[1\]"),
    ],
)
def test_a_reward_or_a_flag_of_another_kind_is_named(wrong, message):
    def giving(**changed):
        class Given(Countdown):
            def step(self, state, action, key):
                after, now = super().step(state, action, key)
                return after, now._replace(**changed)

        return Given()

    check_environment(giving(reward=-1, terminated=False))
    with pytest.raises(BadInput, match=message):
        check_environment(giving(**wrong))


def as_in_another_process(monkeypatch):
    on_host._open.clear()
    on_host._played.clear()
    monkeypatch.setattr(on_host, "_numbers", runpy.run_path(on_host.__file__)["_numbers"])


@pytest.mark.parametrize("evaluated", [2, 3], ids=["as many copies", "more copies"])
def test_a_resumed_session_does_not_step_what_its_evaluation_opened(evaluated, monkeypatch):
    pytest.importorskip("gymnasium")
    environment = Gymnasium("CartPole-v1")
    left = lambda seen, _: (jnp.zeros(len(seen), jnp.int32), None)  # noqa: E731
    as_in_another_process(monkeypatch)
    worlds = start(environment, keys(2))
    as_in_another_process(monkeypatch)
    play(environment, left, keys(evaluated))
    _, seen = advance(environment, worlds, jnp.zeros(2, jnp.int32), keys(2))
    assert seen.truncated.all()
    np.testing.assert_array_equal(seen.next_observation, worlds.observation)


def test_evaluations_do_not_close_what_is_trained_in():
    pytest.importorskip("gymnasium")
    environment, left = Gymnasium("CartPole-v1"), jnp.zeros(2, jnp.int32)
    evaluate = jax.jit(lambda keys: play(environment, lambda seen, _: (left, None), keys))
    found = []
    for evaluations in (0, on_host.OPEN):
        worlds = start(environment, keys(2))
        for _ in range(evaluations):
            jax.block_until_ready(evaluate(keys(2)))
        found.append(advance(environment, worlds, left, keys(2))[1])
    assert not found[0].truncated.any()
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert len(on_host._played) == 1


def test_a_set_of_another_count_is_another_one():
    pytest.importorskip("gymnasium")
    environment = Gymnasium("CartPole-v1")
    worlds = jax.tree.map(lambda x: x[:2], start(environment, keys(3)))
    after, seen = advance(environment, worlds, jnp.zeros(2, jnp.int32), keys(2))
    assert seen.truncated.all()
    assert (after.state != worlds.state).all()


def test_environments_that_cannot_be_made_are_named():
    pytest.importorskip("gymnasium")
    with pytest.raises(BadInput, match="gymnasium cannot make Nothing-v0"):
        Gymnasium("Nothing-v0").observation_space  # noqa: B018
    with pytest.raises(BadInput, match="FrozenLake-v1 shows Discrete"):
        Gymnasium("FrozenLake-v1").observation_space  # noqa: B018


def test_gymnax_is_acted_in_as_jaxlm_s_own():
    pytest.importorskip("gymnax")
    environment, ours = Gymnax("CartPole-v1"), CartPole()
    assert (environment.observation_space.shape, environment.action_space) == ((4,), Discrete(2))
    check_environment(environment)
    state, seen = environment.reset(jax.random.key(0))
    for t in range(40):
        _, expected = ours.step(ours.reset(jax.random.key(0))[0]._replace(values=seen), jnp.int32(t % 2), None)
        state, now = environment.step(state, jnp.int32(t % 2), jax.random.key(0))
        np.testing.assert_allclose(now.observation, expected.observation, rtol=1e-5, atol=1e-6)
        assert now.terminated == expected.terminated
        seen = now.observation
    with pytest.raises(BadInput, match="gymnax cannot make Nothing-v0"):
        Gymnax("Nothing-v0").observation_space  # noqa: B018


@pytest.mark.filterwarnings("ignore:Brax System", "ignore::DeprecationWarning")  # of brax itself
def test_brax_is_acted_in_and_cut_at_its_time_limit():
    envs = pytest.importorskip("brax.envs")
    environment, theirs = Brax("inverted_pendulum", limit=5), envs.get_environment("inverted_pendulum")
    assert (environment.observation_space.shape, environment.action_space) == ((4,), Box(-1.0, 1.0, (1,)))
    check_environment(environment)
    step, expected = jax.jit(environment.step), jax.jit(theirs.reset)(jax.random.key(0))
    state, seen = environment.reset(jax.random.key(0))
    for t in range(5):
        np.testing.assert_array_equal(seen, expected.obs)
        expected = jax.jit(theirs.step)(expected, jnp.array([0.1]))
        state, now = step(state, jnp.array([0.1]), jax.random.key(t))
        assert (now.reward, now.terminated, now.truncated) == (expected.reward, False, t == 4)
        seen = now.observation
    with pytest.raises(BadInput, match="brax has no environment nothing: take one of ant"):
        Brax("nothing").observation_space  # noqa: B018
    with pytest.raises(BadInput, match="backend wrong"):
        Brax("ant", backend="wrong").observation_space  # noqa: B018
