"""Observations in, actions out, and an episode as an animated GIF."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxlm.data import Episodes
from jaxlm.data.images.canvas import Canvas, gif_bytes
from jaxlm.environments import Acrobot, Breakout, CartPole, Catch, Gymnasium, MountainCar, Pendulum
from jaxlm.errors import BadInput
from jaxlm.predict.agents import episodes
from jaxlm.predict.agents.actions import action_predictor
from jaxlm.predict.predictor import answer_all


def follower(environment):
    """A predictor that pushes a cart to the side its pole falls to, and does 0 elsewhere."""

    def act(variables, seen):
        if isinstance(environment, CartPole):
            return {"action": (seen[:, 2] + seen[:, 3] > 0).astype(jnp.int32)}
        zero = jnp.zeros(len(seen), jnp.int32)
        return {"action": zero[:, None].astype(jnp.float32) if isinstance(environment, Pendulum) else zero}

    return action_predictor(act, Episodes(environment=environment, eval_episodes=2))


def test_an_observation_is_answered_and_what_is_none_is_refused():
    predictor = follower(CartPole())
    given = [[0.0, 0, 0.1, 0], "[0, 0, -1, 0]", np.zeros(4), [1, 2], "left", [0, float("nan"), 0, 0]]
    found = list(answer_all(predictor, {}, given))
    assert [one for one in found if not isinstance(one, BadInput)] == [{"action": 1}, {"action": 0}, {"action": 0}]
    errors = [str(one) for one in found if isinstance(one, BadInput)]
    assert len(errors) == 3
    assert "of shape [2]: this agent sees [4]" in errors[0]
    assert "not finite" in errors[2]


def test_an_episode_ends_where_the_environment_ends_it():
    environment = CartPole(max_steps=30)
    episode = episodes.play_episode(environment, follower(environment), {}, seed=1)
    assert (len(episode.rewards), episode.finished) == (30, True)
    again = episodes.play_episode(environment, follower(environment), {}, seed=1)
    np.testing.assert_array_equal(episode.observations, again.observations)
    np.testing.assert_array_equal(episode.states.values, episode.observations)


def test_an_episode_on_the_host_is_refused_in_one_line():
    pytest.importorskip("gymnasium")
    environment = Gymnasium("CartPole-v1")
    with pytest.raises(BadInput, match="CartPole-v1 is an environment of gymnasium, .* and is not drawn") as raised:
        episodes.play_episode(environment, follower(environment), {}, seed=0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "environment",
    [CartPole(), MountainCar(), Acrobot(), Pendulum(), Catch(), Breakout()],
    ids=lambda one: type(one).__name__,
)
def test_every_environment_is_drawn_otherwise_where_it_is_otherwise(environment):
    states, pictures = [jax.device_get(environment.reset(jax.random.key(seed))) for seed in (0, 5)], []
    action = np.zeros(1, np.float32) if isinstance(environment, Pendulum) else np.int32(0)
    for state, seen in states:
        draw = episodes.DRAWINGS.get(type(environment), episodes._draw_observation)
        pictures.append(draw(environment, state, seen, action).pixels())
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()


def test_a_gif_has_its_frames_and_a_cart_to_the_right_is_on_the_right():
    environment = CartPole(max_steps=3)
    episode = episodes.play_episode(environment, follower(environment), {}, seed=0)
    right = dataclasses.replace(environment)
    states = episode.states._replace(values=episode.states.values + np.array([1.5, 0, 0, 0], np.float32))
    image = Image.open(io.BytesIO(episodes.episode_gif(right, episode._replace(states=states))))
    assert image.n_frames == 3
    dark = np.asarray(image.convert("L")) < 80
    dark[:30] = False  # the line of text
    assert np.argwhere(dark)[:, 1].mean() > 0.7 * dark.shape[1]


def test_a_canvas_has_its_origin_at_the_lower_left():
    canvas = Canvas((0, 0), (10, 5), 100)
    canvas.box((0, 0), (2, 1))
    pixels = canvas.pixels()
    assert pixels.shape == (50, 100, 3)
    assert pixels[45, 5].tolist() == [0, 0, 0]
    assert pixels[5, 5].tolist() == pixels[45, 95].tolist() == [255, 255, 255]
    assert Image.open(io.BytesIO(gif_bytes([pixels, pixels[::-1]], 0.1))).n_frames == 2
