"""Predict the next token.

Shapes: B batch, T tokens, V vocabulary.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxlm.steps import LossFn, Mean, Metrics, Perplexity

PyTree = Any


class Applies(Protocol):
    """What the loss asks of a model; a Linen module does it."""

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """Return logits (B, T, V) of tokens (B, T)."""


def next_token(model: Applies, token_bytes: Any = None) -> LossFn:
    """Cross entropy of each next token, in nats: `-log softmax(logits)[target]`, summed over unmasked targets.

    batch: "tokens" and "targets" int32 (B, T); optional "mask" float32 (B, T), the weight of each target;
    optional "segments" and "positions" int32 (B, T) for several documents in a row, and "types" for models that take
    them.
    token_bytes: float array (V,), how many bytes of text each token stands for; with it the metrics gain
    "bits_per_byte", the loss in bits over the bytes of the targets, which compares across tokenizers.
    Metrics: "loss" (nats per token), "accuracy" (share of targets that are the likeliest token); in evaluation
    "perplexity" (the exponential of the loss).
    """
    sizes_V = None if token_bytes is None else jnp.asarray(token_bytes, jnp.float32)

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        layout = {name: batch[name] for name in ("segments", "types", "positions") if name in batch}
        rngs = {"dropout": key} if train else None
        logits_BTV = model.apply({"params": params, **variables}, batch["tokens"], train=train, rngs=rngs, **layout)
        targets_BT = batch["targets"]
        mask_BT = batch.get("mask", jnp.ones(targets_BT.shape, jnp.float32))
        nats_BT, correct_BT = cross_entropy(logits_BTV, targets_BT)
        total, weight = (nats_BT * mask_BT).sum(), mask_BT.sum()
        metrics: Metrics = {"loss": Mean(total, weight), "accuracy": Mean((correct_BT * mask_BT).sum(), weight)}
        if not train:
            metrics["perplexity"] = Perplexity(total, weight)
        if sizes_V is not None:
            metrics["bits_per_byte"] = Mean(total / math.log(2), (sizes_V[targets_BT] * mask_BT).sum())
        return metrics, variables

    return loss


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nats of each target and whether it was the likeliest token, both float32 (B, T), computed in float32.

    The target's logit is picked by a comparison with its index, which XLA fuses into the reductions forward and
    backward; a gather would have a scatter for its gradient.
    """
    logits_BTV = logits_BTV.astype(jnp.float32)
    is_target_BTV = targets_BT[..., None] == jnp.arange(logits_BTV.shape[-1])[None, None]
    picked_BT = jnp.where(is_target_BTV, logits_BTV, 0).sum(-1)
    top_BT = jax.lax.stop_gradient(logits_BTV.max(-1))
    log_sum_BT = jnp.log(jnp.exp(logits_BTV - top_BT[..., None]).sum(-1))
    nats_BT = log_sum_BT + (top_BT - picked_BT)  # in this order: a small logarithm drowns in a large logit
    return nats_BT, (picked_BT >= top_BT).astype(jnp.float32)
