"""Learn a policy of real numbers from transitions: soft actor-critic.

Shapes: B transitions, A numbers of an action.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.environments.off_policy.replay import ReplaySpec
from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True, kw_only=True)
class SAC:
    """Spec of soft actor-critic with a learned temperature (Haarnoja et al. 2018, arXiv:1812.05905).

    The three losses read what the others learn from variables of the names "actor", "critic", "target" (parameters)
    and "temperature" (the logarithm, a scalar). A batch is that of `n_step` (`jaxlm.environments.off_policy.replay`)
    with one step and actions from -1 to 1, "weight" float32 (B,), and "noise" float32 (B, 2, A) from N(0, 1).

    Attributes:
        discount: of the reward of each further step.
        target_decay: what the target critics keep of themselves at each update.
        entropy: that the temperature is to hold the policy at, in nats; None: minus the numbers of an action.
        acts: steps in each environment before an update.
        updates: updates in one step of the run, each after `acts` further steps.
        replay: see `ReplaySpec`.
    """

    discount: float = 0.99
    target_decay: float = 0.995
    entropy: float | None = None
    acts: int = 1
    updates: int = 1
    replay: ReplaySpec = field(default_factory=ReplaySpec)

    def check(self, environments: int) -> None:
        """Check the fields; raises BadInput with one line."""
        for name in ("discount", "target_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"loss.{name} is {getattr(self, name)}: it is a share from 0 to 1")
        for name in ("acts", "updates"):
            if getattr(self, name) < 1:
                raise BadInput(f"loss.{name} is {getattr(self, name)}: it must be at least 1")
        self.replay.check(environments)
        if self.replay.steps != 1 or self.replay.alpha:
            raise BadInput(
                f"replay.steps is {self.replay.steps} and replay.alpha {self.replay.alpha}: soft actor-critic counts "
                "the entropy of every step and draws evenly, so steps is 1 and alpha 0"
            )
        if self.acts > self.replay.capacity // environments:
            raise BadInput(f"loss.acts is {self.acts}: more than the replay's room for each environment")

    def critic(self, model: Model) -> LossFn:
        """Return the loss of the two critics, half the squared soft temporal difference of each (equation 5)."""
        return _weighted(lambda params, others, batch: _critic(self, model, params, others, batch))

    def actor(self, model: Model) -> LossFn:
        """Return the loss of the policy, temperature * log density - the lesser value (equation 7)."""
        return _weighted(lambda params, others, batch: _actor(model, params, others, batch))

    def temperature(self, model: Any) -> LossFn:
        """Return the loss of the temperature, of which the parameter is the logarithm (equation 18)."""
        aim = float(-model.actions) if self.entropy is None else self.entropy

        def loss_B(params: PyTree, others: PyTree, batch: PyTree) -> dict[str, jax.Array]:
            _, log_B = squashed(model, others["actor"], batch["observation"], batch["noise"][:, 0])
            return {"loss": -jnp.exp(params["log"]) * jax.lax.stop_gradient(log_B + aim)}

        return _weighted(loss_B)


def squashed(model: Any, actor: PyTree, observation: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw actions tanh(mean + std * noise) and return them with the logarithm of their density (appendix C).

    Args:
        model: its method "act" gives a `DiagonalGaussian`.
        actor: the parameters.
        observation: float32 [B, ...].
        noise: float32 [B, A]; zeros give the action at the mean.

    Returns:
        (actions float32 [B, A], log density float32 [B]).
    """
    found = model.apply({"params": actor}, observation, method="act")
    before_BA = found.mean + jnp.exp(found.log_std) * noise
    shrunk_BA = 2 * (math.log(2) - before_BA - jax.nn.softplus(-2 * before_BA))  # log(1 - tanh^2), and never log(0)
    return jnp.tanh(before_BA), found.log_prob(before_BA) - shrunk_BA.sum(-1)


def _critic(spec: SAC, model: Any, params: PyTree, others: PyTree, batch: PyTree) -> dict[str, jax.Array]:
    action, log_B = squashed(model, others["actor"], batch["next_observation"], batch["noise"][:, 1])
    next_B = model.apply({"params": others["target"]}, batch["next_observation"], action, method="judge").min(0)
    soft_B = next_B - jnp.exp(others["temperature"]) * log_B
    goal_B = jax.lax.stop_gradient(batch["return"] + batch["bootstrap"] * soft_B)
    value_2B = model.apply({"params": params}, batch["observation"], batch["action"], method="judge")
    return {"loss": 0.5 * jnp.square(value_2B - goal_B[None]).sum(0), "value": value_2B.mean(0)}


def _actor(model: Any, params: PyTree, others: PyTree, batch: PyTree) -> dict[str, jax.Array]:
    action, log_B = squashed(model, params, batch["observation"], batch["noise"][:, 0])
    value_B = model.apply({"params": others["critic"]}, batch["observation"], action, method="judge").min(0)
    return {"loss": jnp.exp(others["temperature"]) * log_B - value_B, "entropy": -log_B}


def _weighted(values: Any) -> LossFn:
    """Return the loss whose metrics are the means of values of each transition, weighted by "weight"."""

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key, train
        found = values(params, variables, batch)
        return {name: Mean.from_values(x_B, batch["weight"]) for name, x_B in found.items()}, variables

    return loss
