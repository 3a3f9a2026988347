"""Tune a language model on rewards of its own answers, which are compared within groups to the same prompt.

Shapes: N answers, G answers of a group, T tokens of prompt and answer, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.dpo import AdaptedModel
from jaxlm.losses.next_token import cross_entropy
from jaxlm.losses.rewards import Reward
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Spec of group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300); call it with a model.

    Attributes:
        reward: of an answer, such as `SortedDigits`.
        group: G, answers to each prompt that are compared.
        length: tokens of an answer at most, its end included.
        temperature: that answers are drawn with.
        clip: how far the probability of a token may move from what it was when the answer was drawn.
        beta: strength of the penalty for moving away from the initial model; 0 is none.
        epochs: updates on the same answers.
    """

    reward: Reward
    group: int = 8
    length: int = 8
    temperature: float = 1.0
    clip: float = 0.2
    beta: float = 0.04
    epochs: int = 1

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model.

        Raises:
            BadInput: numbers that cannot be, or a penalty for a model that cannot be applied as it was at the start.
        """
        if self.group < 2:
            raise BadInput(f"loss.group is {self.group}: an answer is compared with others of its group, at least 2")
        for name in ("length", "epochs"):
            if getattr(self, name) < 1:
                raise BadInput(f"loss.{name} is {getattr(self, name)}: it must be at least 1")
        for name, least in (("temperature", "above 0"), ("clip", "above 0"), ("beta", "of at least 0")):
            value = getattr(self, name)
            if not (0 <= value < math.inf) or (value == 0 and name != "beta"):
                raise BadInput(f"loss.{name} is {value}: it must be a finite number {least}")
        if self.beta and not isinstance(model, AdaptedModel):
            raise BadInput(
                "loss.beta holds the model at what it was: take model=Adapted(GPT(...), LoRA(...)), and "
                'LoRA(rank=0, full=".") to train all of it, or set --loss.beta 0'
            )
        return grpo(model, self)


def group_advantages(reward_N: jax.Array, group: int) -> jax.Array:
    """Return (reward - mean of its group) / standard deviation of its group, 0 where all are equal (section 4.1.2).

    Args:
        reward_N: float32, the answers of a group side by side.
        group: G.
    """
    reward_MG = reward_N.reshape(-1, group)
    away_MG = reward_MG - reward_MG.mean(1, keepdims=True)
    return (away_MG / (reward_MG.std(1, keepdims=True) + 1e-6)).reshape(-1)


def token_log_probs(model: Any, variables: PyTree, batch: PyTree, temperature: float) -> jax.Array:
    """Return the log-probability of each target under a model at a temperature; float32 (N, T)."""
    logits = model.apply(variables, batch["tokens"], train=False)
    return -cross_entropy(logits.astype(jnp.float32) / temperature, batch["targets"])[0]


def grpo(model: Any, spec: GRPO) -> LossFn:
    """Return the loss of equation 3, a mean over answers of the mean over each answer's tokens.

    A token adds -min(p A, clip(p, 1 - clip, 1 + clip) A) + beta (q - log q - 1), with A the advantage of the answer, p
    its probability over that when the answer was drawn, and q the initial model's probability over its own (equation
    4, an estimate of the Kullback-Leibler divergence that is never negative).

    The batch has "tokens" and "targets" int32 (N, T), "mask" float32 (N, T), 1 on the tokens of the answer,
    "advantage" float32 (N,), and "log_prob" float32 (N, T) of when it was drawn. The metrics are "loss", "kl", in nats
    a token, and "clipped", the share of tokens whose gradient is cut.

    Args:
        model: with `apply_base` where there is a penalty.
        spec: see `GRPO`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key, train  # answers were drawn without dropout
        weights = {"params": params, **variables}
        log_NT = token_log_probs(model, weights, batch, spec.temperature)
        ratio_NT = jnp.exp(log_NT - batch["log_prob"])
        advantage_N1, mask_NT = batch["advantage"][:, None], batch["mask"]
        gain_NT = jnp.minimum(ratio_NT * advantage_N1, jnp.clip(ratio_NT, 1 - spec.clip, 1 + spec.clip) * advantage_N1)
        kl_NT = jnp.zeros_like(log_NT)
        if spec.beta:
            base = _Base(model)
            away_NT = jax.lax.stop_gradient(token_log_probs(base, weights, batch, spec.temperature)) - log_NT
            kl_NT = jnp.exp(away_NT) - away_NT - 1
        length_N = jnp.maximum(mask_NT.sum(1), 1)
        loss_N = jnp.where(mask_NT > 0, spec.beta * kl_NT - gain_NT, 0).sum(1) / length_N
        cut_NT = (gain_NT < ratio_NT * advantage_N1).astype(jnp.float32)
        metrics = {
            "loss": Mean(loss_N.sum(), jnp.float32(len(loss_N))),
            "kl": Mean.from_values(kl_NT, mask_NT),
            "clipped": Mean.from_values(cut_NT, mask_NT),
        }
        return metrics, variables

    return loss


class _Base:
    """The initial model of an adapted one."""

    def __init__(self, model: AdaptedModel) -> None:
        self.apply = model.apply_base
