"""Contrastive loss of images and captions: do they belong together?

B batch, H height, W width, C channels, L tokens of a caption.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


def contrastive(model: Model, gather: Callable[[PyTree], PyTree] = lambda tree: tree) -> LossFn:
    """Return the cross entropy of whether an image and a caption fit, over all pairs of a batch, for each image.

    The sigmoid loss of Zhai et al. 2023, arXiv:2303.15343, algorithm 1: a sum over pairs, so that devices need no
    normalisation over the batch. Images with the same caption fit each other's. The batch has "image" float32
    (B, H, W, C), about -1 to 1; "tokens" and "segments" int32 (B, L); and optional "mask" float32 (B,). Metrics beside
    "loss": "accuracy", of the caption with the largest logit among those of the batch.

    Law: it does not depend on devices. It does on the batch, whose captions an image is compared with: micro-batches
    are other batches.

    Args:
        model: called with images, tokens and segments, returns `jaxlm.models.clip.PairVectors`.
        gather: `place.gather`, so that images meet the captions of all devices.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        tokens_BL, segments_BL = batch["tokens"], batch["segments"]
        inputs, rngs = (batch["image"], tokens_BL, segments_BL), {"dropout": key} if train else None
        found = model.apply({"params": params, **variables}, *inputs, train=train, rngs=rngs)
        weight_B = batch.get("mask", jnp.ones(len(tokens_BL)))
        words_BL = jnp.where(segments_BL > 0, tokens_BL, -1)
        caption_AD, words_AL, weight_A = gather((found.caption, words_BL, weight_B))
        logits_BA = found.scale * found.image @ caption_AD.T + found.bias
        fits_BA = (words_BL[:, None] == words_AL[None]).all(-1)
        nats_B = (jax.nn.softplus(jnp.where(fits_BA, -logits_BA, logits_BA)) * weight_A[None]).sum(1)
        best_B = jnp.where(weight_A[None] > 0, logits_BA, -jnp.inf).argmax(1)
        right_B = jnp.take_along_axis(fits_BA, best_B[:, None], 1)[:, 0].astype(jnp.float32)
        metrics = {"loss": Mean.from_values(nats_B, weight_B), "accuracy": Mean.from_values(right_B, weight_B)}
        return metrics, variables

    return loss
