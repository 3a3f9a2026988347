"""Direct preference optimisation: learn which of two answers is preferred, without a reward model.

Shapes: B pairs, T tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.next_token import cross_entropy, target_weights
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


@runtime_checkable
class AdaptedModel(Model, Protocol):
    """A model that can also be applied as it was before training; `jaxlm.models.adapted.Adapted` is one."""

    def apply_base(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs of the initial model."""


@dataclass(frozen=True)
class DPO:
    """Spec of direct preference optimisation; call it with a model to get the loss.

    Attributes:
        beta: strength of the penalty for moving away from the initial model.
    """

    beta: float = 0.1

    def __call__(self, model: Model) -> LossFn:
        """Return the loss of a model.

        Raises:
            BadInput: the model cannot be applied as it was before training, or `beta` is not positive.
        """
        if not isinstance(model, AdaptedModel):
            raise BadInput(
                "preferences are relative to the model at the start: take model=Adapted(GPT(...), LoRA(...)), and "
                'LoRA(rank=0, full=".") to train all of it'
            )
        return dpo(model, self.beta)


def dpo(model: AdaptedModel, beta: float = 0.1) -> LossFn:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, equation 7), in nats per pair.

    `-log sigmoid(beta (r(chosen) - r(rejected)))` with `r(y) = log p(y | x) - log p_base(y | x)`, each the sum over the
    tokens of the answer, and the base the initial model.

    The batch has "tokens", "targets" and "segments" int32 (B, 2, T), and "mask" float32 (B, 2, T), the chosen answers
    first. Negative targets count as masked. A pair without an unmasked target has no weight.

    The metrics are "loss"; "accuracy" (share of pairs whose chosen answer has the larger r); "margin" (beta times the
    difference of r); "chosen_reward" and "rejected_reward" (beta r).

    Args:
        model: its `apply` and `apply_base` return logits (B, T, V).
        beta: strength of the penalty for moving away from the initial model.

    Raises:
        BadInput: `beta` is not positive.
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
        weight_B = (target_weights(batch).sum((1, 2)) > 0).astype(jnp.float32)

        def mean(values_B: jax.Array) -> Mean:
            return Mean.from_values(values_B, weight_B)

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
    """Sum the log-probabilities of each answer's unmasked targets, float32 (B, 2), from the logits of both answers."""
    nats_BT, _ = cross_entropy(logits_BTV, _both(batch["targets"]))
    weights_B2T = target_weights(batch)
    return -jnp.where(weights_B2T != 0, nats_BT.reshape(weights_B2T.shape) * weights_B2T, 0).sum(-1)


def _both(pairs: jax.Array) -> jax.Array:
    """Reshape (B, 2, T) to (2 B, T)."""
    return pairs.reshape(-1, pairs.shape[-1])
