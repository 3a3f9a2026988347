"""Next-token prediction: the cross entropy of a language model.

Shapes: B batch, T tokens, V vocabulary.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.steps import LossFn, Mean, Metrics, Model, Perplexity, PyTree


def next_token(model: Model, token_bytes: Any = None) -> LossFn:
    """Cross entropy of each next token, in nats: `-log softmax(logits)[target]`, summed over unmasked targets.

    The batch has "tokens" and "targets" int32 (B, T); optional "mask" float32 (B, T), the weight of each target;
    optional "segments" and "positions" int32 (B, T) for several documents in a row, and "types" for models that take
    them. A negative target, such as -100, has no weight.

    The metrics are "loss" (nats per token) and "accuracy" (share of targets that are the most probable token); in
    evaluation also "perplexity" (the exponential of the loss).

    Args:
        model: its `apply` returns logits (B, T, V).
        token_bytes: float array (V,), the bytes of text of each token. With it the metrics gain "bits_per_byte", the
            loss in bits over the bytes of the targets, which is comparable across tokenizers.
    """
    sizes_V = None if token_bytes is None else jnp.asarray(token_bytes, jnp.float32)

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        layout = {name: batch[name] for name in ("segments", "types", "positions") if name in batch}
        rngs = {"dropout": key} if train else None
        logits_BTV = model.apply({"params": params, **variables}, batch["tokens"], train=train, rngs=rngs, **layout)
        targets_BT, weights_BT = batch["targets"], target_weights(batch)
        nats_BT, correct_BT = cross_entropy(logits_BTV, targets_BT)
        nats = Mean.from_values(nats_BT, weights_BT)
        metrics: Metrics = {"loss": nats, "accuracy": Mean.from_values(correct_BT, weights_BT)}
        if not train:
            metrics["perplexity"] = Perplexity(*nats)
        if sizes_V is not None:
            metrics["bits_per_byte"] = Mean(nats.total / math.log(2), (sizes_V[targets_BT] * weights_BT).sum())
        return metrics, variables

    return loss


def target_weights(batch: PyTree) -> jax.Array:
    """Return the weight of each target of a batch, float32: its "mask", or 1 without one; 0 for negative targets."""
    targets = batch["targets"]
    return batch.get("mask", jnp.ones(targets.shape, jnp.float32)) * (targets >= 0)


def cross_entropy(logits_BTV: jax.Array, targets_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute the nats of each target and whether it is the first of the most probable tokens, both float32 (B, T).

    The target's logit is picked by a comparison with its index, which XLA fuses into the reductions forward and
    backward; a gather would have a scatter for its gradient. A target beyond the vocabulary has NaN nats, so that a
    wrong vocabulary stops a run; negative ones are to be given no weight (`target_weights`).
    """
    logits_BTV = logits_BTV.astype(jnp.float32)
    vocab = logits_BTV.shape[-1]
    tokens_V = jnp.arange(vocab)[None, None]
    picked_BT = jnp.where(targets_BT[..., None] == tokens_V, logits_BTV, 0).sum(-1)
    top_BT = jax.lax.stop_gradient(logits_BTV.max(-1))
    log_sum_BT = jnp.log(jnp.exp(logits_BTV - top_BT[..., None]).sum(-1))
    nats_BT = log_sum_BT + (top_BT - picked_BT)  # in this order: a small logarithm drowns in a large logit
    nats_BT = jnp.where(targets_BT < vocab, nats_BT, jnp.nan)
    predicted_BT = jnp.where(logits_BTV >= top_BT[..., None], tokens_V, vocab).min(-1)  # argmax, which does not fuse
    return nats_BT, (predicted_BT == targets_BT).astype(jnp.float32)
