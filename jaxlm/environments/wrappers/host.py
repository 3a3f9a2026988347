"""Environments of gymnasium, which run on the host: one call of the host for each step of all copies."""

import itertools
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from jaxlm.environments.protocol import Box, Discrete
from jaxlm.environments.worlds import Transitions, Worlds
from jaxlm.errors import BadInput

OPEN = 4  # sets of copies that are kept open to train in; of those to evaluate in, the last one is
# A checkpoint names its set by a number: one of another process must not be taken for one of this process. int32.
_numbers = itertools.count(1 + secrets.randbelow(2**31 - 2**24))
_open: OrderedDict[int, "_Copies"] = OrderedDict()
_played: dict[int, "_Copies"] = {}  # the set of an evaluation; they do not take the place of one that is trained in


@dataclass(frozen=True)
class Gymnasium:
    """Any environment of gymnasium with numbers or images to see, and with discrete or real actions.

    Its state is on the host and in no checkpoint. A run that resumes therefore begins new episodes, and those that were
    going on count as cut by a time limit; equal bits are not promised. It runs on one device, and not vmapped.

    Attributes:
        name: of the environment, such as "CartPole-v1" or "ale_py:ALE/Breakout-v5".
        processes: whether each copy has a process of its own, for environments that are slow.
    """

    name: str
    processes: bool = False

    @property
    def observation_space(self) -> Box:
        """Return the space of observations; those of uint8 are divided by 255."""
        return _spaces(self.name)[0]

    @property
    def action_space(self) -> Discrete | Box:
        """Return the space of actions."""
        return _spaces(self.name)[1]

    def start(self, keys: jax.Array, evaluation: bool = False) -> Worlds:
        """Return copies at the start of an episode each.

        Args:
            keys: PRNG keys [B] that seed them.
            evaluation: whether they are for one evaluation: they are closed when the next one starts.
        """
        count = len(keys)
        shapes = jax.ShapeDtypeStruct((count,), jnp.int32), self._like(count)
        begin = partial(self._start, evaluation=evaluation)
        state, observation = io_callback(begin, shapes, jax.random.key_data(keys), ordered=True)
        return Worlds(state, observation, jnp.zeros(count), jnp.zeros(count, jnp.int32))

    def advance(self, worlds: Worlds, actions: jax.Array, keys: jax.Array) -> tuple[Worlds, Transitions]:
        """Take one step in each copy, and begin a new episode where one ends; see `jaxlm.environments.advance`."""
        count, flag = len(keys), jax.ShapeDtypeStruct((len(keys),), jnp.bool_)
        number = jax.ShapeDtypeStruct((count,), jnp.float32)
        shapes = (worlds.state, self._like(count), self._like(count), number, flag, flag)
        words = jax.random.key_data(keys)
        state, after, seen, reward, terminated, truncated = io_callback(
            self._advance, shapes, worlds.state, worlds.observation, actions, words, ordered=True
        )
        score, length, done = worlds.score + reward, worlds.length + 1, terminated | truncated
        moved = Transitions(worlds.observation, actions, reward, terminated, truncated, seen, score, length, None)
        return Worlds(state, after, jnp.where(done, 0, score), jnp.where(done, 0, length)), moved

    def _like(self, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *self.observation_space.shape), jnp.float32)

    def _start(self, words: np.ndarray, evaluation: bool = False) -> tuple[np.ndarray, np.ndarray]:
        if evaluation:
            while _played:
                _played.popitem()[1].close()
        number, copies = next(_numbers), _Copies(self, len(words))
        (_played if evaluation else _open)[number] = copies
        while len(_open) > OPEN:
            _open.popitem(last=False)[1].close()
        return np.full(len(words), number, np.int32), copies.reset(words)

    def _advance(
        self, numbers: np.ndarray, before: np.ndarray, actions: np.ndarray, words: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        number, count = int(np.asarray(numbers)[0]), len(numbers)
        copies = _open.get(number) or _played.get(number)
        if copies is None or (copies.environment, copies.count) != (self, count):  # of a session before: it is cut
            state, observation = self._start(words)
            zero, cut = np.zeros(count, np.float32), np.ones(count, bool)
            return state, observation, np.asarray(before), zero, ~cut, cut
        if number in _open:
            _open.move_to_end(number)
        return np.asarray(numbers), *copies.step(np.asarray(actions))


class _Copies:
    """Copies of an environment, as gymnasium's vectors of them."""

    def __init__(self, environment: Gymnasium, count: int):
        gymnasium = import_gymnasium()
        self.environment, self.count = environment, count
        kind = gymnasium.vector.AsyncVectorEnv if environment.processes else gymnasium.vector.SyncVectorEnv
        same = gymnasium.vector.AutoresetMode.SAME_STEP
        self._vector = kind([partial(_make, environment.name)] * count, autoreset_mode=same)

    def reset(self, words: np.ndarray) -> np.ndarray:
        """Begin episodes with seeds from the keys' words, uint32 [B, 2]."""
        seeds = [int(word) for word in np.asarray(words)[:, -1]]
        return _scaled(self._vector.reset(seed=seeds)[0])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what is seen now, what was seen before a reset, rewards, and where episodes ended."""
        space = self._vector.single_action_space
        if hasattr(space, "low"):
            actions = np.clip(actions, space.low, space.high)
        now, reward, terminated, truncated, more = self._vector.step(actions)
        seen = np.array(now)
        for at in np.flatnonzero(terminated | truncated):
            seen[at] = more["final_obs"][at]
        return _scaled(now), _scaled(seen), reward.astype(np.float32), np.asarray(terminated), np.asarray(truncated)

    def close(self) -> None:
        """End the processes."""
        self._vector.close()


def refuse_on_host(environment: Any, why: str) -> None:
    """Raise BadInput for an environment of gymnasium, where one has to be compiled.

    Args:
        environment: any.
        why: the rest of the message, from what such an environment is for, with what to do instead.
    """
    if isinstance(environment, Gymnasium):
        raise BadInput(f"{environment.name} is an environment of gymnasium, which runs on the host, {why}")


def import_gymnasium() -> Any:
    """Return gymnasium; raises BadInput where it is not installed."""
    try:
        import gymnasium
    except ImportError:
        raise BadInput("an environment of gymnasium needs it: pip install 'jaxlm[gymnasium]'") from None
    return gymnasium


def _make(name: str) -> Any:
    gymnasium = import_gymnasium()
    try:
        return gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        raise BadInput(f"gymnasium cannot make {name}: {str(error).splitlines()[0]}") from None


@cache
def _spaces(name: str) -> tuple[Box, Discrete | Box]:
    made = _make(name)
    seen, done = made.observation_space, made.action_space
    made.close()
    if not hasattr(seen, "low"):
        raise BadInput(f"{name} shows {seen}: take an environment, or wrap it, so that it shows one array (a Box)")
    high = 1.0 if seen.dtype == np.uint8 else np.inf
    box = Box(0.0 if seen.dtype == np.uint8 else -np.inf, high, tuple(seen.shape))
    if hasattr(done, "n") and not done.shape and getattr(done, "start", 0) == 0:
        return box, Discrete(int(done.n))
    if hasattr(done, "low"):
        return box, Box(tuple(map(float, done.low.flat)), tuple(map(float, done.high.flat)), tuple(done.shape))
    raise BadInput(f"{name} has actions {done}: take an environment with actions 0 to n - 1, or with real ones")


def _scaled(observation: np.ndarray) -> np.ndarray:
    found = np.asarray(observation, np.float32)
    return found / 255 if observation.dtype == np.uint8 else found
