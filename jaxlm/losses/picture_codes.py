"""Codes of images: learning them, and predicting them one after another.

B batch, H height, W width, C channels, L tokens of a caption, N codes of an image, K codes of the book.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, Perplexity, PyTree, typed_keys


class CodeUsage(NamedTuple):
    """How many codes of a book are in use: the perplexity of their frequencies, at most K.

    Attributes:
        counts: how often each code was chosen, [K].
    """

    counts: Any

    def compute(self) -> float:
        """Return the exponential of the entropy of the frequencies; NaN where nothing was counted."""
        counts = np.asarray(self.counts, np.float64)
        shares = counts[counts > 0] / counts.sum()
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else float("nan")


@dataclass(frozen=True)
class VectorQuantisation:
    """Spec of the loss of `jaxlm.models.vq_vae.VQVAE`; call it with the model to get the loss.

    Attributes:
        commitment: beta, the weight of what draws the encoder's vectors to those of the book.
    """

    commitment: float = 0.25

    hyperparameters = ("commitment",)

    def __call__(self, model: Model) -> LossFn:
        """Return the loss."""
        return vector_quantisation(model, self)


def vector_quantisation(model: Any, spec: VectorQuantisation) -> LossFn:
    """Return the squared error of images made again from their codes, and what draws codes and vectors together.

    Equation 3 of van den Oord et al. 2017, arXiv:1711.00937. The batch has "image" float32 (B, H, W, C), about -1 to 1,
    and optional "mask" float32 (B,). Metrics beside "loss": "reconstruction", the squared error of a pixel, and
    "code_perplexity", see `CodeUsage`.

    Args:
        model: called with images, returns `jaxlm.models.vq_vae.Quantised`.
        spec: see `VectorQuantisation`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        del key, train
        found = model.apply({"params": params, **variables}, batch["image"])
        error_B = jnp.square(found.image.astype(jnp.float32) - batch["image"]).mean((1, 2, 3))
        stop = jax.lax.stop_gradient
        book_B = jnp.square(stop(found.vectors) - found.nearest).mean((1, 2))
        encoder_B = jnp.square(found.vectors - stop(found.nearest)).mean((1, 2))
        weight_B = batch.get("mask", jnp.ones_like(error_B))
        chosen_BNK = jax.nn.one_hot(found.codes, model.book) * weight_B[:, None, None]
        return {
            "loss": Mean.from_values(error_B + book_B + spec.commitment * encoder_B, weight_B),
            "reconstruction": Mean.from_values(error_B, weight_B),
            "code_perplexity": CodeUsage(chosen_BNK.sum((0, 1))),
        }, variables

    return loss


@dataclass(frozen=True)
class NextCode:
    """Spec of the loss of `jaxlm.models.dalle.DALLE`; call it with the model to get the loss.

    Attributes:
        drop: the share of captions that are left out in training, so that pictures can be made with guidance.
    """

    drop: float = 0.1

    hyperparameters = ("drop",)

    def __call__(self, model: Model) -> LossFn:
        """Return the loss.

        Raises:
            BadInput: `drop` is not a share.
        """
        if not isinstance(self.drop, jax.Array) and not 0 <= self.drop <= 1:
            raise BadInput(f"loss.drop is {self.drop}: give a share from 0 to 1")
        return next_code(model, self)


def next_code(model: Model, spec: NextCode) -> LossFn:
    """Return the cross entropy of the codes of an image, each given its caption and the codes before it.

    The batch has "image" float32 (B, H, W, C); "tokens" and "segments" int32 (B, L); "keys" uint32 (B, 2); and optional
    "mask" float32 (B,). Whether a caption is left out is drawn from the key of each example. Metrics beside "loss", a
    mean over codes: "accuracy" and "perplexity".

    Args:
        model: called with images, tokens and segments, returns logits [B, N, K] and codes [B, N].
        spec: see `NextCode`.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        segments_BL = batch["segments"]
        if train:
            keys_B = typed_keys(batch["keys"])
            segments_BL = jnp.where(jax.vmap(jax.random.uniform)(keys_B)[:, None] < spec.drop, 0, segments_BL)
        inputs, rngs = (batch["image"], batch["tokens"], segments_BL), {"dropout": key} if train else None
        logits_BNK, codes_BN = model.apply({"params": params, **variables}, *inputs, train=train, rngs=rngs)
        nats_BN = optax.softmax_cross_entropy_with_integer_labels(logits_BNK.astype(jnp.float32), codes_BN)
        weight_BN = jnp.broadcast_to(batch.get("mask", jnp.ones(len(nats_BN)))[:, None], nats_BN.shape)
        right_BN = (logits_BNK.argmax(-1) == codes_BN).astype(jnp.float32)
        mean = Mean.from_values(nats_BN, weight_BN)
        accuracy = Mean.from_values(right_BN, weight_BN)
        return {"loss": mean, "accuracy": accuracy, "perplexity": Perplexity(*mean)}, variables

    return loss
