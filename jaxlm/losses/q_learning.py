"""Learn the values of actions from transitions: deep Q-learning.

Shapes: B transitions, A actions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.environments.off_policy.replay import ReplaySpec
from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True, kw_only=True)
class DQN:
    """Spec of a deep Q-network's learning (Mnih et al. 2015); call it with a model to get the loss.

    Attributes:
        discount: of the reward of each further step.
        double: let the net that learns choose the next action, and the target net say its value (van Hasselt et al.
            2016, arXiv:1509.06461, equation 4).
        huber: temporal difference from which on the loss grows linearly (Mnih et al. 2015, "clipping the error term").
        target_decay: what the target net keeps of itself where it is renewed: 0 copies the other net, 0.995 averages.
        target_every: updates between two renewals of the target net.
        first_epsilon: share of random actions at the start.
        last_epsilon: the same after `explore`.
        explore: share of the updates over which it falls from the one to the other, linearly.
        acts: steps in each environment before an update.
        updates: updates in one step of the run, each after `acts` further steps.
        replay: see `ReplaySpec`.
    """

    discount: float = 0.99
    double: bool = True
    huber: float = 1.0
    target_decay: float = 0.0
    target_every: int = 100
    first_epsilon: float = 1.0
    last_epsilon: float = 0.05
    explore: float = 0.5
    acts: int = 1
    updates: int = 1
    replay: ReplaySpec = field(default_factory=ReplaySpec)

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model whose `apply` returns values (B, A)."""
        return q_learning(model, self)

    def check(self, environments: int) -> None:
        """Check the fields; raises BadInput with one line."""
        for name in ("discount", "target_decay", "first_epsilon", "last_epsilon", "explore"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise BadInput(f"loss.{name} is {value}: it is a share from 0 to 1")
        for name in ("target_every", "acts", "updates"):
            if getattr(self, name) < 1:
                raise BadInput(f"loss.{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 < self.huber < math.inf:
            raise BadInput(f"loss.huber is {self.huber}: it must be a finite number above 0")
        self.replay.check(environments)
        if self.acts > self.replay.capacity // environments:
            raise BadInput(f"loss.acts is {self.acts}: more than the replay's room for each environment")

    def epsilon(self, done: jax.Array) -> jax.Array:
        """Return the share of random actions.

        Args:
            done: share of all updates that are over, from 0 to 1.
        """
        fallen = jnp.clip(done / max(self.explore, 1e-9), 0.0, 1.0)
        return self.first_epsilon + fallen * (self.last_epsilon - self.first_epsilon)


def temporal_difference(model: Model, double: bool) -> Callable[[PyTree, PyTree, PyTree], jax.Array]:
    """Return (parameters, those of the target net, batch) -> target - value of each transition, float32 [B].

    The target is return + bootstrap * max_a Q_target(next observation, a), or with `double`
    Q_target(next observation, argmax_a Q(next observation, a)); no gradient flows through it.
    """

    def difference(params: PyTree, target: PyTree, batch: PyTree) -> jax.Array:
        next_BA = model.apply({"params": target}, batch["next_observation"])
        chooser_BA = model.apply({"params": params}, batch["next_observation"]) if double else next_BA
        goal_B = batch["return"] + batch["bootstrap"] * _pick(next_BA, chooser_BA.argmax(1))
        value_B = _pick(model.apply({"params": params}, batch["observation"]), batch["action"])
        return jax.lax.stop_gradient(goal_B) - value_B

    return difference


def q_learning(model: Model, spec: DQN) -> LossFn:
    """Return the loss of Q-learning, a mean over transitions that is weighted by "weight" (Mnih et al. 2015).

    The batch is that of `n_step` (`jaxlm.environments.off_policy.replay`) with "weight" float32 (B,), and the target
    net's parameters are `variables["target"]`. The metrics are "loss" and "difference", the mean of the absolute
    temporal difference.

    Args:
        model: its `apply` returns values (B, A).
        spec: see `DQN`.
    """
    difference = temporal_difference(model, spec.double)

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key, train
        difference_B = difference(params, variables["target"], batch)
        loss_B = optax.losses.huber_loss(difference_B, delta=spec.huber)
        metrics: Any = {"loss": loss_B, "difference": jnp.abs(difference_B)}
        return {name: Mean.from_values(x_B, batch["weight"]) for name, x_B in metrics.items()}, variables

    return loss


def _pick(values_BA: jax.Array, action_B: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values_BA, action_B[:, None], 1)[:, 0]
