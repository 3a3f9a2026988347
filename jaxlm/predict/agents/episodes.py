"""Show an episode of an agent: what it does in an environment, as an animated GIF."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlm.data.images.canvas import Canvas, gif_bytes
from jaxlm.environments import (
    Acrobot,
    Breakout,
    CartPole,
    Catch,
    Environment,
    MountainCar,
    Pendulum,
)
from jaxlm.environments.wrappers.host import refuse_on_host
from jaxlm.predict.predictor import Predictor

LONGEST, FRAMES = 1000, 200  # steps that are played, and frames that are kept of them
BLUE, ORANGE, GREY, DARK = "#3b6ea8", "#e07b39", "#b8bec6", "#2b2f36"


class Episode(NamedTuple):
    """One episode, step by step; every leaf has the axis of steps first.

    Attributes:
        states: of the environment before each action, as NumPy arrays.
        observations: what the agent saw.
        actions: what it did.
        rewards: float32 [T], what it got.
        finished: whether the episode came to its end within `LONGEST` steps.
    """

    states: Any
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    finished: bool


def play_episode(environment: Environment, predictor: Predictor, variables: Any, seed: int) -> Episode:
    """Play one episode with the actions that a run's predictor answers.

    Args:
        environment: without a batch axis.
        predictor: of a run of an agent; its outputs have "action".
        variables: of the run.
        seed: of the episode.

    Raises:
        BadInput: an environment on the host.
    """
    refuse_on_host(environment, "and is not drawn: ask what the agent does, `jaxlm predict RUN OBSERVATION`")

    @jax.jit
    def play(variables: Any, key: jax.Array) -> Any:
        first, rest = jax.random.split(key)

        def move(carry: Any, key: jax.Array) -> Any:
            state, observation = carry
            action = predictor.apply(variables, {"observation": observation[None]})["action"][0]
            after, now = environment.step(state, action, key)
            done = now.terminated | now.truncated
            return (after, now.observation), (state, observation, action, now.reward, done)

        return jax.lax.scan(move, environment.reset(first), jax.random.split(rest, LONGEST))[1]

    states, observations, actions, rewards, done = jax.device_get(play(variables, jax.random.key(seed)))
    length = int(np.argmax(done)) + 1 if done.any() else LONGEST
    cut = partial(jax.tree.map, lambda x: x[:length])
    return Episode(cut(states), observations[:length], actions[:length], rewards[:length], bool(done.any()))


def episode_gif(environment: Environment, episode: Episode) -> bytes:
    """Return an animated GIF of an episode, of at most `FRAMES` frames, with its step and return so far."""
    length, scores = len(episode.rewards), np.cumsum(episode.rewards)
    stride = math.ceil(length / FRAMES)
    draw = DRAWINGS.get(type(environment), _draw_observation)
    frames = []
    for t in [*range(0, length, stride), *([length - 1] if (length - 1) % stride else [])]:
        state = jax.tree.map(lambda x, t=t: x[t], episode.states)
        canvas = draw(environment, state, episode.observations[t], episode.actions[t])
        canvas.text(f"step {t + 1}, return {scores[t]:.4g}")
        frames.append(canvas.pixels())
    return gif_bytes(frames, SECONDS.get(type(environment), 0.04 if stride == 1 else 0.04 * stride / 2))


def _draw_cart(environment: Any, state: Any, observation: Any, action: Any) -> Canvas:
    del environment, observation
    x, _, angle, _ = state.values
    canvas = Canvas((-2.6, -0.5), (2.6, 2.0))
    canvas.line([(-2.6, 0), (2.6, 0)], GREY)
    for limit in (-2.4, 2.4):
        canvas.line([(limit, -0.1), (limit, 0.1)], GREY)
    canvas.box((x - 0.3, -0.12), (x + 0.3, 0.12), DARK)
    canvas.line([(x, 0), (x + 1.2 * math.sin(angle), 1.2 * math.cos(angle))], ORANGE, 7)
    canvas.disc((x, 0), 0.06, BLUE)
    push = 0.3 if action == 1 else -0.3
    canvas.line([(x, -0.3), (x + push, -0.3)], BLUE, 3)
    return canvas


def _draw_acrobot(environment: Any, state: Any, observation: Any, action: Any) -> Canvas:
    del environment, observation
    first, second = state.values[0], state.values[0] + state.values[1]
    elbow = (math.sin(first), -math.cos(first))
    end = (elbow[0] + math.sin(second), elbow[1] - math.cos(second))
    canvas = Canvas((-2.3, -2.3), (2.3, 2.5))
    canvas.line([(-2.3, 1), (2.3, 1)], GREY)
    canvas.line([(0, 0), elbow], BLUE, 9)
    canvas.line([elbow, end], ORANGE, 9)
    for joint in ((0, 0), elbow):
        canvas.disc(joint, 0.09, DARK)
    canvas.line([elbow, (elbow[0] + 0.35 * (int(action) - 1), elbow[1])], DARK, 3)
    return canvas


def _draw_car(environment: Any, state: Any, observation: Any, action: Any) -> Canvas:
    del environment, observation
    canvas = Canvas((-1.25, -0.1), (0.65, 1.35))
    canvas.line([(x, _height(x)) for x in np.linspace(-1.2, 0.6, 60)], GREY, 3)
    canvas.line([(0.5, _height(0.5)), (0.5, _height(0.5) + 0.22)], DARK)
    canvas.box((0.5, _height(0.5) + 0.14), (0.58, _height(0.5) + 0.22), ORANGE)
    x = float(state.position)
    canvas.disc((x, _height(x) + 0.045), 0.045, BLUE)
    canvas.line([(x, _height(x) + 0.14), (x + 0.1 * (int(action) - 1), _height(x) + 0.14)], DARK, 3)
    return canvas


def _height(x: float) -> float:
    return 0.45 * math.sin(3 * x) + 0.55


def _draw_pendulum(environment: Any, state: Any, observation: Any, action: Any) -> Canvas:
    del environment, observation
    end = (math.sin(state.angle), math.cos(state.angle))
    canvas = Canvas((-1.4, -1.3), (1.4, 1.5))
    canvas.line([(0, 0), end], ORANGE, 11)
    canvas.disc(end, 0.1, ORANGE)
    canvas.disc((0, 0), 0.06, DARK)
    canvas.line([(0, -1.2), (0.4 * float(np.clip(action[0], -2, 2)), -1.2)], BLUE, 4)
    return canvas


def _draw_observation(environment: Any, state: Any, observation: np.ndarray, action: Any) -> Canvas:
    """Draw a board of squares in a colour for each channel, or a bar for each number."""
    del environment, state, action
    if observation.ndim not in (2, 3):
        numbers = np.tanh(observation.reshape(-1))
        canvas = Canvas((-0.5, -1.1), (len(numbers) - 0.5, 1.4))
        for at, x in enumerate(numbers):
            canvas.box((at - 0.4, min(0, x)), (at + 0.4, max(0, x)), BLUE)
        return canvas
    rows, columns = observation.shape[:2]
    canvas = Canvas((0, 0), (columns, rows + 0.12 * columns), 240)
    for channel, board in enumerate(observation.reshape(rows, columns, -1).transpose(2, 0, 1)[::-1]):
        colour = (BLUE, GREY, ORANGE, DARK)[channel % 4]
        for row, column in np.argwhere(board > 0):
            canvas.box((column + 0.05, rows - row - 0.95), (column + 0.95, rows - row - 0.05), colour)
    return canvas


DRAWINGS: dict[type, Callable[[Any, Any, Any, Any], Canvas]] = {
    CartPole: _draw_cart,
    Acrobot: _draw_acrobot,
    MountainCar: _draw_car,
    Pendulum: _draw_pendulum,
}
SECONDS = {Catch: 0.25, Breakout: 0.1}  # that a frame is seen
