"""Learn which of two answers is preferred, without a reward model.

Shapes: B pairs, T tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import LossFn, Mean, Metrics

PyTree = Any


class Refers(Protocol):
    """What the loss asks of a model: `jaxlm.models.adapted.Adapted` does it."""

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Return logits (B, T, V) of tokens (B, T)."""

    def apply_base(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Return those of the model that training began with."""


@dataclass(frozen=True)
class DPO:
    """Spec of `dpo`; called with a model it is a loss.

    beta: how much a departure from the model that training began with costs.
    """

    beta: float = 0.1

    def __call__(self, model: Refers) -> LossFn:
        """The loss of a model.

        Raises BadInput where the model does not know what it was at the start, or `beta` is not positive.
        """
        if not hasattr(model, "apply_base"):
            raise BadInput(
                "preferences are relative to the model at the start: take model=Adapted(GPT(...), LoRA(...)), and "
                'LoRA(rank=0, full=".") to train all of it'
            )
        return dpo(model, self.beta)


def dpo(model: Refers, beta: float = 0.1) -> LossFn:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, equation 7), in nats for each pair.

    `-log sigmoid(beta (r(chosen) - r(rejected)))` with `r(y) = log p(y | x) - log p_base(y | x)`, each the sum over the
    tokens of the answer, and the base the model that training began with.

    batch: "tokens", "targets" and "segments" int32 (B, 2, T), and "mask" float32 (B, 2, T), the chosen answers first;
    a pair without any unmasked target has no weight.
    Metrics: "loss"; "accuracy" (share of pairs whose chosen answer has the larger r); "margin" (beta times the
    difference of r); "chosen_reward" and "rejected_reward" (beta r).
    Raises BadInput where `beta` is not positive.
    """
    if beta <= 0:
        raise BadInput(f"loss.beta is {beta}: it must be more than 0")

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        weights = {"params": params, **variables}
        tokens_BT, segments_BT = _both(batch["tokens"]), _both(batch["segments"])
        rngs = {"dropout": key} if train else None
        logits_BTV = model.apply(weights, tokens_BT, segments=segments_BT, train=train, rngs=rngs)
        base_BTV = jax.lax.stop_gradient(model.apply_base(weights, tokens_BT, segments=segments_BT, train=False))
        rewards_B2 = beta * (log_probability(logits_BTV, batch) - log_probability(base_BTV, batch))
        margin_B = rewards_B2[:, 0] - rewards_B2[:, 1]
        weight_B = (batch["mask"].sum((1, 2)) > 0).astype(jnp.float32)

        def mean(values_B: jax.Array) -> Mean:
            return Mean((values_B * weight_B).sum(), weight_B.sum())

        metrics = {
            "loss": mean(jax.nn.softplus(-margin_B)),
            "accuracy": mean((margin_B > 0).astype(jnp.float32)),
            "margin": mean(margin_B),
            "chosen_reward": mean(rewards_B2[:, 0]),
            "rejected_reward": mean(rewards_B2[:, 1]),
        }
        return metrics, variables

    return loss


def log_probability(logits_BTV: jax.Array, batch: PyTree) -> jax.Array:
    """The sum of the log-probabilities of each answer's unmasked targets, float32 (B, 2), of both answers' logits."""
    nats_BT, _ = cross_entropy(logits_BTV, _both(batch["targets"]))
    return -(nats_BT.reshape(batch["mask"].shape) * batch["mask"]).sum(-1)


def _both(pairs: jax.Array) -> jax.Array:
    """(B, 2, T) as (2 B, T)."""
    return pairs.reshape(-1, pairs.shape[-1])
