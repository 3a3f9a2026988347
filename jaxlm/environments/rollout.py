"""Act in many environments for some steps, and start each again where its episode ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Environment, PyTree

Policy = Callable[[jax.Array, jax.Array], tuple[jax.Array, Any]]  # (observations [B], keys [B]) -> (actions, extras)


class Worlds(NamedTuple):
    """Environments in the middle of their episodes; every leaf has the axis of environments first.

    Attributes:
        state: of the environments.
        observation: float32 [B, ...], what the agent sees now.
        score: float32 [B], undiscounted sum of the rewards of the episode so far.
        length: int32 [B], steps of the episode so far.
    """

    state: PyTree
    observation: jax.Array
    score: jax.Array
    length: jax.Array


class Transitions(NamedTuple):
    """Steps of environments. Every leaf is [T, B, ...] after `rollout` and [B, ...] after `advance`.

    There is no dead transition at an episode's end: the next observation is that of the state before the reset, so that
    a truncated episode can be bootstrapped from it.

    Attributes:
        observation: float32 [..., *observation], before the action.
        action: int32 or float32.
        reward: float32.
        terminated: bool, the task has ended.
        truncated: bool, a time limit has cut the episode.
        next_observation: float32, after the action and before any reset.
        score: float32, sum of the rewards of the episode up to here: that of the whole episode where it ends.
        length: int32, steps of the episode up to here.
        extras: what the policy returned beside the action, such as log-probabilities.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_observation: jax.Array
    score: jax.Array
    length: jax.Array
    extras: Any

    @property
    def done(self) -> jax.Array:
        """Return where an episode ends, for either reason; bool."""
        return self.terminated | self.truncated


def start(environment: Environment, keys: jax.Array) -> Worlds:
    """Return environments at the start of an episode each.

    Args:
        environment: without a batch axis.
        keys: typed PRNG keys [B].
    """
    state, observation = jax.vmap(environment.reset)(keys)
    count = len(keys)
    return Worlds(state, observation, jnp.zeros(count), jnp.zeros(count, jnp.int32))


def advance(
    environment: Environment, worlds: Worlds, actions: jax.Array, keys: jax.Array
) -> tuple[Worlds, Transitions]:
    """Take one step in each environment, and reset those whose episode ends.

    Args:
        environment: without a batch axis.
        worlds: [B].
        actions: [B, ...].
        keys: typed PRNG keys [B] of this step.

    Returns:
        (worlds, transitions [B, ...] with extras None)
    """

    def one(world: Worlds, action: jax.Array, key: jax.Array) -> tuple[Worlds, Transitions]:
        step_key, reset_key = jax.random.split(key)
        state, outcome = environment.step(world.state, action, step_key)
        score, length = world.score + outcome.reward, world.length + 1
        transition = Transitions(world.observation, action, *outcome[1:], outcome.observation, score, length, None)
        fresh = Worlds(*environment.reset(reset_key), jnp.zeros(()), jnp.zeros((), jnp.int32))
        on = Worlds(state, outcome.observation, score, length)
        done = outcome.terminated | outcome.truncated
        return jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, on), transition

    return jax.vmap(one)(worlds, actions, keys)


def rollout(
    environment: Environment, policy: Policy, worlds: Worlds, keys: jax.Array, steps: int
) -> tuple[Worlds, Transitions]:
    """Act for `steps` steps in each environment, in one compiled loop.

    Args:
        environment: without a batch axis.
        policy: (observations [B, ...], typed PRNG keys [B]) -> (actions [B, ...], extras).
        worlds: [B], from `start` or an earlier call.
        keys: typed PRNG keys [B]; step t of an environment draws from `fold_in(key, t)`, so what happens in it does
            not depend on how many others there are.
        steps: how many.

    Returns:
        (worlds, transitions [T, B, ...])
    """

    def move(worlds: Worlds, t: jax.Array) -> tuple[Worlds, Transitions]:
        split = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, t)))(keys)
        actions, extras = policy(worlds.observation, split[:, 0])
        worlds, transitions = advance(environment, worlds, actions, split[:, 1])
        return worlds, transitions._replace(extras=extras)

    return jax.lax.scan(move, worlds, jnp.arange(steps))


def play(environment: Environment, policy: Policy, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Play one episode in each of some environments of their own, for an evaluation: each episode counts once.

    An environment without a time limit may make it endless; every one of jaxlm has a limit.

    Args:
        environment: without a batch axis.
        policy: see `rollout`; its extras are not used.
        keys: typed PRNG keys [B]; an episode depends on its own alone.

    Returns:
        (undiscounted sum of the rewards float32 [B], steps int32 [B]) of the episodes
    """
    split = jax.vmap(lambda key: jax.random.split(key))(keys)

    def move(carry: tuple[Worlds, jax.Array, jax.Array]) -> tuple[Worlds, jax.Array, jax.Array]:
        worlds, done, t = carry
        now = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, t)))(split[:, 1])
        actions, _ = policy(worlds.observation, now[:, 0])
        states, outcomes = jax.vmap(environment.step)(worlds.state, actions, now[:, 1])
        score = worlds.score + jnp.where(done, 0.0, outcomes.reward)
        length = worlds.length + ~done
        worlds = Worlds(states, outcomes.observation, score, length)
        return worlds, done | outcomes.terminated | outcomes.truncated, t + 1

    worlds = start(environment, split[:, 0])
    first = (worlds, jnp.zeros(len(keys), bool), jnp.zeros((), jnp.int32))
    worlds, _, _ = jax.lax.while_loop(lambda carry: ~carry[1].all(), move, first)
    return worlds.score, worlds.length
