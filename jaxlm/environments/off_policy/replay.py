"""Keep what was experienced and draw from it again: a replay buffer that is arrays in the state of a run.

B environments, C transitions of each that are kept, K that are drawn of each, T steps, n steps of a return.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.environments import Environment, Policy, Transitions, Worlds, rollout, start
from jaxlm.errors import BadInput


class ReplayBuffer(NamedTuple):
    """Rings of transitions, one ring an environment, so that they can be split over devices like the environments.

    Attributes:
        items: what is kept of `Transitions`, by name; leaves [B, C, ...].
        priority: float32 [B, C], a transition's share of the draws is proportional to it.
        written: int32 scalar, transitions of each environment so far; the next one is written at `written % C`.
    """

    items: dict[str, jax.Array]
    priority: jax.Array
    written: jax.Array


class Drawn(NamedTuple):
    """Places drawn from a replay.

    Attributes:
        place_BK: int32, in each ring.
        weight_BK: float32, 1 / (transitions that could be drawn * probability), which corrects a mean over draws.
    """

    place_BK: jax.Array
    weight_BK: jax.Array


KEPT = ("observation", "action", "reward", "terminated", "truncated", "next_observation")


@dataclass(frozen=True)
class ReplaySpec:
    """Spec of a replay buffer; sizes are of all environments together.

    Attributes:
        capacity: transitions kept; the oldest ones are overwritten.
        batch: transitions drawn for an update, the same number of each environment.
        prefill: transitions of random actions that are there before the first update.
        steps: n of n-step returns (Sutton 1988).
        alpha: 0 draws uniformly; else in proportion to |temporal difference|^alpha (Schaul et al. 2016,
            arXiv:1511.05952, section 3.3).
        beta: of the importance weights, (1 / (N P))^beta, at the first update; it rises linearly to 1 at the last.
        floor: added to |temporal difference|, so that every transition can be drawn.
    """

    capacity: int = 10_000
    batch: int = 128
    prefill: int = 1_000
    steps: int = 1
    alpha: float = 0.0
    beta: float = 0.4
    floor: float = 1e-3

    def check(self, environments: int) -> None:
        """Check the fields against the number of environments.

        Raises:
            BadInput: one line that names the field, and how to fix it.
        """
        for name in ("capacity", "batch", "prefill"):
            value = getattr(self, name)
            if value < 1 or value % environments:
                raise BadInput(
                    f"replay.{name} is {value}: it must be a positive multiple of the {environments} environments"
                )
        if not 1 <= self.steps <= self.prefill // environments <= self.capacity // environments:
            raise BadInput(
                f"replay has steps {self.steps}, prefill {self.prefill} and capacity {self.capacity} for {environments}"
                " environments: each environment needs at least `steps` transitions at the start, and room for them"
            )
        if not (0 <= self.alpha < math.inf and 0 <= self.beta <= 1 and 0 < self.floor < math.inf):
            raise BadInput(
                f"replay has alpha {self.alpha}, beta {self.beta} and floor {self.floor}: alpha is at least 0, beta a "
                "share from 0 to 1, floor above 0"
            )


def experience(
    environment: Environment, policy: Policy, key: jax.Array, environments: int, spec: ReplaySpec
) -> tuple[Worlds, ReplayBuffer]:
    """Return environments, and a replay of what a first policy did in them, before the first update.

    Args:
        environment: without a batch axis.
        policy: see `rollout`; usually of random actions.
        key: typed PRNG key.
        environments: B.
        spec: of the replay.
    """
    start_keys, act_keys = jax.random.split(key, (2, environments))
    worlds = start(environment, start_keys)
    worlds, moves = rollout(environment, policy, worlds, act_keys, spec.prefill // environments)
    return worlds, start_replay(moves, spec.capacity // environments)


def start_replay(transitions: Transitions, capacity: int) -> ReplayBuffer:
    """Return a replay that has room for `capacity` transitions of each environment and holds the given ones.

    Args:
        transitions: [T, B, ...], as `rollout` returns them.
        capacity: C.
    """

    def room(x: jax.Array) -> jax.Array:
        return jnp.zeros((x.shape[1], capacity, *x.shape[2:]), x.dtype)

    items = {name: room(getattr(transitions, name)) for name in KEPT}
    priority = jnp.zeros((transitions.reward.shape[1], capacity))
    return remember(ReplayBuffer(items, priority, jnp.zeros((), jnp.int32)), transitions)


def remember(replay: ReplayBuffer, transitions: Transitions) -> ReplayBuffer:
    """Write transitions [T, B, ...] over the oldest ones; T is at most C.

    A new one has the largest priority in its ring, 1 where the ring is empty, so that each is soon drawn (algorithm 1
    of arXiv:1511.05952).
    """
    steps, capacity = transitions.reward.shape[0], replay.priority.shape[1]
    place_T = (replay.written + jnp.arange(steps)) % capacity
    items = {
        name: kept.at[:, place_T].set(jnp.swapaxes(getattr(transitions, name), 0, 1))
        for name, kept in replay.items.items()
    }
    largest_B1 = replay.priority.max(1, keepdims=True)
    new_B1 = jnp.where(largest_B1 > 0, largest_B1, 1.0)
    priority = replay.priority.at[:, place_T].set(jnp.broadcast_to(new_B1, (len(new_B1), steps)))
    return ReplayBuffer(items, priority, replay.written + steps)


def draw_places(replay: ReplayBuffer, keys: jax.Array, count: int, steps: int = 1, uniform: bool = False) -> Drawn:
    """Draw transitions of each environment in proportion to their priorities, with `steps` - 1 later ones known.

    The range of the cumulative sums is divided into `count` equal parts with a draw from each (appendix B.2.1 of
    arXiv:1511.05952). One pass over a ring costs less than keeping a tree for rings of up to some 10^5.

    Law: the frequency of a transition is its priority over the sum of those in its ring that can be drawn; what is
    drawn of an environment does not depend on the others.

    Args:
        replay: with at least `steps` transitions of each environment.
        keys: typed PRNG keys [B].
        count: K.
        steps: n of the returns; the newest n - 1 transitions are not drawn yet.
        uniform: ignore the priorities, which then costs no pass over the ring.
    """
    capacity = replay.priority.shape[1]
    stop = jnp.minimum(replay.written, capacity)  # ages from `steps` - 1 to `stop` - 1 can be drawn; 0 is the newest
    eligible = stop - (steps - 1)

    def place(age: jax.Array) -> jax.Array:
        return (replay.written - 1 - age) % capacity

    def evenly(key: jax.Array) -> Drawn:
        age_K = jax.random.randint(key, (count,), steps - 1, stop)
        return Drawn(place(age_K), jnp.ones(count))

    def by_priority(key: jax.Array, priority_C: jax.Array) -> Drawn:
        age_C = jnp.arange(capacity)
        mass_C = jnp.where((age_C >= steps - 1) & (age_C < stop), priority_C[place(age_C)], 0.0)
        sums_C = jnp.cumsum(mass_C)
        part_K = (jnp.arange(count) + jax.random.uniform(key, (count,))) / count
        age_K = jnp.searchsorted(sums_C, part_K * sums_C[-1], side="right")
        age_K = jnp.clip(age_K, steps - 1, stop - 1)  # rounding at the two ends
        return Drawn(place(age_K), sums_C[-1] / (eligible * mass_C[age_K]))

    return jax.vmap(evenly)(keys) if uniform else jax.vmap(by_priority)(keys, replay.priority)


def reprioritise(replay: ReplayBuffer, place_BK: jax.Array, priority_BK: jax.Array) -> ReplayBuffer:
    """Set the priorities of drawn transitions; one that was drawn twice has one of its values, they are equal."""
    rows_B1 = jnp.arange(place_BK.shape[0])[:, None]
    return replay._replace(priority=replay.priority.at[rows_B1, place_BK].set(priority_BK))


def n_step(replay: ReplayBuffer, place_BK: jax.Array, steps: int, discount: float) -> dict[str, Any]:
    """Gather transitions with their discounted rewards of up to n steps, up to the end of the episode.

    With rewards r_0, r_1, ... from a transition on and an episode that ends, or is cut by a time limit, with step m < n
    (else m = n - 1): the target is return + bootstrap * V(next observation), where the return is
    sum_{k <= m} discount^k r_k, the bootstrap discount^(m + 1), or 0 where the episode ended by itself, and the next
    observation that after step m, before any reset.

    Args:
        replay: the rings.
        place_BK: of the transitions, see `draw_places`.
        steps: n.
        discount: a step.

    Returns:
        {"observation", "action", "return", "bootstrap", "next_observation"}, each [B * K, ...].
    """
    offset_11N = jnp.arange(steps)[None, None]
    slot_BKN = (place_BK[..., None] + offset_11N) % replay.priority.shape[1]

    def at(name: str, slots: jax.Array) -> jax.Array:
        return jax.vmap(lambda ring, slot: ring[slot])(replay.items[name], slots)

    terminated_BKN = at("terminated", slot_BKN)
    done_BKN = terminated_BKN | at("truncated", slot_BKN)
    over_BKN = jnp.cumsum(done_BKN, axis=-1) - done_BKN > 0  # an earlier step ended the episode
    power_11N = discount ** offset_11N.astype(jnp.float32)
    last_BK1 = (~over_BKN).sum(-1, keepdims=True) - 1
    ended_BK = jnp.take_along_axis(terminated_BKN, last_BK1, -1)[..., 0]
    bootstrap_BK = jnp.where(ended_BK, 0.0, discount * power_11N[0, 0, last_BK1[..., 0]])
    found = {
        "observation": at("observation", place_BK),
        "action": at("action", place_BK),
        "return": jnp.where(over_BKN, 0.0, power_11N * at("reward", slot_BKN)).sum(-1),
        "bootstrap": bootstrap_BK,
        "next_observation": at("next_observation", jnp.take_along_axis(slot_BKN, last_BK1, -1)[..., 0]),
    }
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in found.items()}
