"""Environments do what gymnasium's and MinAtar's do, for 10,000 random steps from the same states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.environments import Acrobot, Breakout, CartPole, Catch, MountainCar, Pendulum, rollout, start

STEPS, COPIES = 500, 20


def random_steps(environment, steps=STEPS, copies=COPIES):
    """Transitions [T, B] under random actions, with the states before each as extras."""
    space = environment.action_space

    def act(key):
        if hasattr(space, "n"):
            return jax.random.randint(key, (), 0, space.n)
        return jax.random.uniform(key, space.shape, minval=1.2 * space.low, maxval=1.2 * space.high)

    @jax.jit
    def play(keys):
        def move(worlds, key):
            before = worlds.state
            policy = lambda observation, keys: (jax.vmap(act)(keys), before)  # noqa: E731
            worlds, seen = rollout(environment, policy, worlds, key, 1)
            return worlds, jax.tree.map(lambda x: x[0], seen)

        every = jax.vmap(lambda key: jax.random.split(key, copies))(jax.random.split(keys, steps))
        return jax.lax.scan(move, start(environment, jax.random.split(keys, copies)), every)[1]

    return jax.tree.map(np.asarray, play(jax.random.key(0)))


CLASSIC = {
    "CartPole-v1": (CartPole(), lambda s: s.values),
    "Acrobot-v1": (Acrobot(), lambda s: s.values),
    "MountainCar-v0": (MountainCar(), lambda s: np.stack([s.position, s.velocity], -1)),
    "Pendulum-v1": (Pendulum(), lambda s: np.stack([s.angle, s.velocity], -1)),
}


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_control_is_that_of_gymnasium(name):
    gymnasium = pytest.importorskip("gymnasium")
    environment, values = CLASSIC[name]
    seen = random_steps(environment)
    theirs = gymnasium.make(name).unwrapped
    limit = gymnasium.spec(name).max_episode_steps
    assert environment.max_steps == limit
    theirs.reset(seed=0)
    low, high = theirs.observation_space.low, theirs.observation_space.high
    space = environment.observation_space
    np.testing.assert_allclose(space.low, np.where(low < -1e30, -np.inf, low), rtol=1e-6)
    np.testing.assert_allclose(space.high, np.where(high > 1e30, np.inf, high), rtol=1e-6)
    before = values(seen.extras).astype(np.float64)
    found = []
    for t, b in np.ndindex(STEPS, COPIES):
        theirs.state, theirs.steps_beyond_terminated = before[t, b], None
        found.append(theirs.step(seen.action[t, b])[:3])
    observations, rewards, terminated = (
        np.array(x).reshape(STEPS, COPIES, -1).squeeze() for x in zip(*found, strict=True)
    )
    np.testing.assert_allclose(seen.next_observation, observations, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(seen.reward, rewards, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen.terminated, terminated)
    np.testing.assert_array_equal(seen.truncated, (seen.extras.steps + 1 == limit) & ~terminated)
    assert seen.done.sum() >= COPIES


@pytest.mark.parametrize("environment", [Breakout(sticky=0.0)])
def test_breakout_is_that_of_minatar(environment):
    minatar = pytest.importorskip("minatar.environments.breakout")
    theirs = minatar.Env()
    seen = random_steps(environment)
    episodes = broken = 0
    for b in range(COPIES):
        theirs.reset()
        for t in range(STEPS):
            if seen.length[t, b] == 1:
                before = jax.tree.map(lambda x, t=t, b=b: x[t, b], seen.extras)
                theirs.reset()
                theirs.ball_x, theirs.ball_dir = int(before.x), 2 if before.right else 3
                theirs.last_x = theirs.ball_x
                np.testing.assert_array_equal(seen.observation[t, b], theirs.state())
                episodes += 1
            reward, terminated = theirs.act((0, 1, 3)[seen.action[t, b]])
            assert (reward, terminated) == (seen.reward[t, b], seen.terminated[t, b])
            np.testing.assert_array_equal(seen.next_observation[t, b], theirs.state())
            broken += reward
    assert episodes > 100
    assert broken > 100


def test_breakout_takes_the_last_action_again_at_its_rate():
    seen = random_steps(Breakout(sticky=0.25), 200)
    taken, before = seen.extras.action[1:], seen.extras.action[:-1]
    chosen, going = seen.action[:-1], ~(seen.terminated | seen.truncated)[:-1]
    differ = going & (chosen != before)
    assert np.isin(taken[differ] == before[differ], [True, False]).all()
    assert (taken[differ] == before[differ]).mean() == pytest.approx(0.25, abs=0.03)
    assert (taken[going & (chosen == before)] == chosen[going & (chosen == before)]).all()


class NumPyCatch:
    """Catch as bsuite describes it, by hand."""

    def __init__(self, column):
        self.ball, self.paddle = [0, column], 2

    def board(self):
        found = np.zeros((10, 5), np.float32)
        found[tuple(self.ball)] = found[9, self.paddle] = 1
        return found

    def step(self, action):
        self.paddle = min(max(self.paddle + (-1, 0, 1)[action], 0), 4)
        self.ball[0] += 1
        if self.ball[0] < 9:
            return 0.0, False
        return (1.0 if self.paddle == self.ball[1] else -1.0), True


def test_catch_is_that_of_bsuite():
    seen = random_steps(Catch())
    columns = []
    for b in range(COPIES):
        for t in range(STEPS):
            if seen.length[t, b] == 1:
                columns.append(int(seen.extras.column[t, b]))
                theirs = NumPyCatch(columns[-1])
                np.testing.assert_array_equal(seen.observation[t, b], theirs.board())
            assert theirs.step(seen.action[t, b]) == (seen.reward[t, b], seen.terminated[t, b])
            np.testing.assert_array_equal(seen.next_observation[t, b], theirs.board())
    assert np.bincount(columns).min() > 0.1 * len(columns)
    assert not seen.truncated.any()


def test_every_environment_starts_elsewhere_with_every_key():
    for environment in (CartPole(), Acrobot(), MountainCar(), Pendulum()):
        worlds = start(environment, jax.random.split(jax.random.key(0), 50))
        assert len(np.unique(np.asarray(worlds.observation), axis=0)) == 50
        assert worlds.observation.dtype == jnp.float32
