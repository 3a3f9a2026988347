"""Act in many environments for some steps, and start each again where its episode ends."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.environments.protocol import Environment
from jaxlm.environments.worlds import Transitions, Worlds
from jaxlm.environments.wrappers.host import Gymnasium
from jaxlm.environments.wrappers.unit_actions import UnitActions

Policy = Callable[[jax.Array, jax.Array], tuple[jax.Array, Any]]  # (observations [B], keys [B]) -> (actions, extras)


def start(environment: Environment, keys: jax.Array, evaluation: bool = False) -> Worlds:
    """Return environments at the start of an episode each.

    Args:
        environment: without a batch axis.
        keys: typed PRNG keys [B].
        evaluation: whether they are for one evaluation alone, so that those on the host can be closed after it.
    """
    if isinstance(environment, UnitActions) and isinstance(environment.inside, Gymnasium):
        environment = environment.inside
    if isinstance(environment, Gymnasium):
        return environment.start(keys, evaluation)
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
    if isinstance(environment, UnitActions) and isinstance(environment.inside, Gymnasium):
        worlds, seen = environment.inside.advance(worlds, environment.outside(actions), keys)
        return worlds, seen._replace(action=actions)
    if isinstance(environment, Gymnasium):
        return environment.advance(worlds, actions, keys)

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

    def move(carry: tuple[Worlds, Any, jax.Array, jax.Array]) -> tuple[Worlds, Any, jax.Array, jax.Array]:
        worlds, found, done, t = carry
        now = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, t)))(split[:, 1])
        actions, _ = policy(worlds.observation, now[:, 0])
        worlds, seen = advance(environment, worlds, actions, now[:, 1])
        found = jax.tree.map(lambda new, old: jnp.where(done, old, new), (seen.score, seen.length), found)
        return worlds, found, done | seen.done, t + 1

    worlds = start(environment, split[:, 0], evaluation=True)
    first = (worlds, (worlds.score, worlds.length), jnp.zeros(len(keys), bool), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(lambda carry: ~carry[2].all(), move, first)[1]
