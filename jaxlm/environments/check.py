"""Whether an environment keeps its word: what it gives is of its spaces, and finite."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.environments.protocol import Box, Discrete, Environment, TimeStep
from jaxlm.environments.rollout import rollout, start
from jaxlm.environments.wrappers.host import Gymnasium, refuse_on_host
from jaxlm.errors import BadInput

STEPS = 64


def check_environment(environment: Environment, devices: int = 1) -> None:
    """Take some steps by chance in an environment before a run begins with it.

    Args:
        environment: without a batch axis.
        devices: that the run is on.

    Raises:
        BadInput: an observation of another shape or dtype than its space has, a reward or flag that is not a scalar of
            its kind, a state that changes its shape, a number that is not finite, or an environment on the host for
            more than one device.
    """
    if devices > 1:
        refuse_on_host(environment, "for one device: leave --place.kind local")
    _check_steps(environment)  # type: ignore[arg-type]  # a frozen dataclass, so it has a hash


@lru_cache(maxsize=64)
def _check_steps(environment: Environment) -> None:
    name, space = type(environment).__name__, environment.observation_space
    if not isinstance(environment, Gymnasium):
        state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
        action = jax.eval_shape(lambda key: random_action(environment.action_space, key), jax.random.key(0))
        after, now = jax.eval_shape(environment.step, state, action, jax.random.key(0))
        for where, found in (("reset", observation), ("step", now.observation)):
            if found.shape != tuple(space.shape) or found.dtype != jnp.float32:
                raise BadInput(
                    f"{name}.{where} gives an observation {_words(found)}, and its observation_space "
                    f"says float32{list(space.shape)}: correct one of them"
                )
        _check_outcome(now, name)
        if jax.tree.map(_kind, after) != jax.tree.map(_kind, state):
            raise BadInput(f"{name}.step gives a state of other shapes or dtypes than {name}.reset: give the same ones")
    _check_numbers(environment, name)


def _check_outcome(now: TimeStep, name: str) -> None:
    """Check the shapes and dtypes of what a step gives beside the observation."""
    reward, number = now.reward, np.dtype(np.float32)
    if reward.shape or reward.dtype == bool or jnp.promote_types(reward.dtype, number) != number:
        raise BadInput(f"{name}.step gives a reward {_words(reward)}: give a scalar number, such as float32[]")
    for flag in ("terminated", "truncated"):
        found = getattr(now, flag)
        if found.shape or found.dtype != bool:
            raise BadInput(f"{name}.step gives {flag} as {_words(found)}: give a scalar that is true or false, bool[]")


def _check_numbers(environment: Environment, name: str) -> None:
    space = environment.action_space

    @jax.jit
    def play(keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        worlds = start(environment, keys)
        policy = lambda observation, keys: (jax.vmap(lambda key: random_action(space, key))(keys), None)  # noqa: E731
        _, seen = rollout(environment, policy, worlds, keys, STEPS)
        return worlds.observation, seen.next_observation, seen.reward

    first, after, reward = map(np.asarray, play(jax.random.split(jax.random.key(0), 1)))
    for what, numbers in (("a first observation", first[None]), ("an observation", after), ("a reward", reward)):
        broken = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
        if broken.any():
            when = "" if what.startswith("a first") else f" after {np.argmax(broken) + 1} steps of random actions"
            raise BadInput(f"{name} gives {what} that is not finite{when}: correct the environment")


def _kind(x: jax.ShapeDtypeStruct) -> tuple[tuple[int, ...], str]:
    return x.shape, str(x.dtype)


def _words(x: jax.Array | jax.ShapeDtypeStruct) -> str:
    return f"{x.dtype}{list(x.shape)}"


def random_action(space: Discrete | Box, key: jax.Array) -> jax.Array:
    """Return an action drawn uniformly; int32 scalar, or float32 of the shape of the space, in +-1 without limits."""
    if isinstance(space, Discrete):
        return jax.random.randint(key, (), 0, space.n)
    low, high = (
        jnp.broadcast_to(jnp.asarray(x, jnp.float32).reshape(space.shape if np.ndim(x) else ()), space.shape)
        for x in (space.low, space.high)
    )
    low, high = jnp.where(jnp.isfinite(low), low, -1), jnp.where(jnp.isfinite(high), high, 1)
    return jax.random.uniform(key, space.shape, minval=low, maxval=high)
