"""Improve a policy by what it did itself: proximal policy optimisation (PPO), and A2C as its special case."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Spec of PPO, all numbers of the algorithm (Schulman et al. 2017, arXiv:1707.06347, algorithm 1).

    With r = pi(a | s) / pi_old(a | s) the loss of a transition is

        -min(r A, clip(r, 1 - clip, 1 + clip) A) + value_weight * value loss - entropy_weight * H(pi(. | s))

    Attributes:
        horizon: T, steps of each environment in a rollout.
        epochs: K, passes over a rollout.
        minibatches: of a rollout; they divide its steps, each has all environments.
        discount: of later rewards, gamma.
        trace: lambda of generalised advantage estimation.
        clip: how far the ratio of probabilities may move; None is off.
        clip_value: the same for the value, in its own units: the value loss is 0.5 max((V - G)^2, (V' - G)^2) with
            V' = V_old + clip(V - V_old, -clip_value, clip_value) and G = A + V_old; None is 0.5 (V - G)^2.
        value_weight: of the value loss.
        entropy_weight: of the entropy.
        normalise_advantages: standardise the advantages of a minibatch.
        normalise_rewards: divide rewards by the running standard deviation of discounted returns.
    """

    horizon: int = 128
    epochs: int = 4
    minibatches: int = 4
    discount: float = 0.99
    trace: float = 0.95
    clip: float | None = 0.2
    clip_value: float | None = None
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    normalise_advantages: bool = True
    normalise_rewards: bool = False

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if min(self.horizon, self.epochs, self.minibatches) < 1 or self.horizon % self.minibatches:
            raise BadInput(
                f"loss.horizon {self.horizon}, epochs {self.epochs} and minibatches {self.minibatches}: each is at "
                "least 1, and the minibatches divide the steps of the horizon"
            )
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise BadInput(f"loss.discount is {self.discount} and loss.trace {self.trace}: both are from 0 to 1")
        for name in ("clip", "clip_value"):
            if (limit := getattr(self, name)) is not None and not limit > 0:
                raise BadInput(f"loss.{name} is {limit}: it must be above 0, or None")
        if not all(math.isfinite(x) and x >= 0 for x in (self.value_weight, self.entropy_weight)):
            raise BadInput("loss.value_weight and loss.entropy_weight are finite numbers of at least 0")

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a minibatch of transitions.

        Args:
            model: gives a distribution and values, as `jaxlm.models.actor_critic.ActorCritic` does.

        Returns:
            A loss of batches of "observation" [N, ...], "action" [N, ...], and float32 [N] of the policy that acted:
            "log_prob", "value", "advantage" and "target" (G above).
        """

        def loss(
            params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
        ) -> tuple[Metrics, PyTree]:
            del key, train
            policy, value = model.apply({"params": params, **variables}, batch["observation"])
            change = policy.log_prob(batch["action"]) - batch["log_prob"]
            surprise, clipped = self.policy_loss(change, batch["advantage"])
            error = self.value_loss(value, batch)
            entropy = policy.entropy()
            terms = {
                "loss": surprise + self.value_weight * error - self.entropy_weight * entropy,
                "policy_loss": surprise,
                "value_loss": error,
                "entropy": entropy,
                "kl": jnp.expm1(change) - change,  # its mean is KL(pi_old || pi), and each term at least 0
                "clipped": clipped.astype(jnp.float32),
            }
            return {name: Mean(x.sum(), jnp.float32(x.size)) for name, x in terms.items()}, variables

        return loss

    def policy_loss(self, change: jax.Array, advantage: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the clipped surrogate of transitions and whether each was clipped (equation 7).

        Args:
            change: log pi - log pi_old.
            advantage: of the action.
        """
        ratio = jnp.exp(change)
        if self.clip is None:
            return -ratio * advantage, jnp.zeros_like(ratio, bool)
        bounded = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        return -jnp.minimum(ratio * advantage, bounded * advantage), jnp.abs(ratio - 1) > self.clip

    def value_loss(self, value: jax.Array, batch: Any) -> jax.Array:
        """Return half of the squared error of the value of each transition, the larger of two where it is clipped."""
        error = (value - batch["target"]) ** 2
        if self.clip_value is None:
            return 0.5 * error
        moved = batch["value"] + jnp.clip(value - batch["value"], -self.clip_value, self.clip_value)
        return 0.5 * jnp.maximum(error, (moved - batch["target"]) ** 2)


@dataclass(frozen=True, kw_only=True)
class A2C(PPO):
    """Spec of A2C: the synchronous A3C (Mnih et al. 2016, arXiv:1602.01783), with n-step returns of a short rollout.

    A2C is PPO whose rollout is learned from once and as a whole: the ratio of probabilities is then 1, nothing is
    clipped, and the gradient is that of -A log pi(a | s) (Huang et al. 2022, arXiv:2205.09123). A test shows it.
    """

    horizon: int = 5
    epochs: int = 1
    minibatches: int = 1
    trace: float = 1.0
    clip: float | None = None
    normalise_advantages: bool = False
