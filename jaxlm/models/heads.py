"""Heads for text encoders: one decision for each text, one for each token, or the ends of a stretch of tokens.

B batch, T tokens, D width of the encoder, K classes.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import dense, wide
from jaxlm.nn.module import Module

Pool = Literal["first", "mean", "max", "last"]  # how the vectors of tokens become one


class Classifier(Module):
    """Text classifier: an encoder, pooling and a linear head, to logits [B, classes].

    The parameters are under "encoder/" and "head/".

    Attributes:
        encoder: a text model that has `encode(tokens, *, segments, types, positions, train)` -> [B, T, D].
        classes: number of classes.
        pool: how a text becomes one vector, padding excluded: its "first" or "last" token, the "mean" or the "max" of
            all, or "pooler", the encoder's own method `pool` (BERT: a dense layer and tanh of the first token, with
            pretrained weights).
        dropout: rate on that vector in training; it needs an rng named "dropout".
    """

    encoder: Any
    classes: int
    pool: Literal["pooler"] | Pool = "first"
    dropout: float = 0.0

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Classify texts, as logits [B, classes].

        Args:
            tokens_BT: int32.
            segments: int32 [B, T]; 0 is padding. None: no padding.
            types: int32 [B, T], for encoders that take token types.
            positions: int32 [B, T], for encoders that take positions.
            train: apply dropout.

        Raises:
            BadInput: `pool` is "pooler" and the encoder has none.
        """
        x_BTD = _encode(self.encoder, tokens_BT, segments, types, positions, train)
        if self.pool == "pooler":
            if not hasattr(self.encoder, "pool"):
                raise BadInput(f"model.pool is pooler, which {type(self.encoder).__name__} has not: take another pool")
            x_BD = self.encoder.pool(x_BTD)
        else:
            real_BT = jnp.ones(tokens_BT.shape, bool) if segments is None else segments > 0
            x_BD = pool_tokens(x_BTD, real_BT, self.pool)
        x_BD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BD)
        return dense(self.classes, bias=True, name="head")(x_BD)


class TokenClassifier(Module):
    """Token classifier (tagger): an encoder and a linear head, to logits [B, T, classes].

    The parameters are under "encoder/" and "head/".

    Attributes:
        encoder: as for `Classifier`.
        classes: number of classes.
        dropout: rate on the encoder's vectors in training; it needs an rng named "dropout".
    """

    encoder: Any
    classes: int
    dropout: float = 0.0

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Classify each token, as logits [B, T, classes]; those of padding are meaningless."""
        x_BTD = _encode(self.encoder, tokens_BT, segments, types, positions, train)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        return dense(self.classes, bias=True, name="head")(x_BTD)


class SpanClassifier(Module):
    """Span head: logits of each token to begin and to end an answer, [B, T, 2] (Devlin et al. 2019, section 4.2).

    The parameters are under "encoder/" and "head/".

    Attributes:
        encoder: as for `Classifier`; for a question and its context it takes token types.
    """

    encoder: Any

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Compute the logits of starts, [..., 0], and of ends, [..., 1]; those of padding are meaningless."""
        x_BTD = _encode(self.encoder, tokens_BT, segments, types, positions, train)
        return dense(2, bias=True, name="head")(x_BTD)


def pool_tokens(x_BTD: jax.Array, real_BT: jax.Array, how: Pool) -> jax.Array:
    """Pool the tokens of each text into one vector, in float32; the dtype is kept.

    Args:
        x_BTD: token vectors.
        real_BT: bool, False on padding.
        how: the first, mean, maximum or last of the tokens that are not padding.

    Returns:
        [B, D]; zeros for a text of padding alone.
    """
    pooled_BD = _pool(wide(x_BTD), real_BT, how)
    return pooled_BD.astype(x_BTD.dtype)


def _pool(x_BTD: jax.Array, real_BT: jax.Array, how: Pool) -> jax.Array:
    real_BT1 = real_BT[..., None]
    if how == "mean":
        return jnp.where(real_BT1, x_BTD, 0).sum(1) / jnp.maximum(real_BT.sum(1), 1)[:, None]
    if how == "max":
        return jnp.where(real_BT.any(1)[:, None], jnp.where(real_BT1, x_BTD, -jnp.inf).max(1), 0)
    place_BT = jnp.where(real_BT, jnp.arange(real_BT.shape[1])[None], 0 if how == "last" else real_BT.shape[1])
    place_B = place_BT.max(1) if how == "last" else place_BT.min(1)
    return jnp.take_along_axis(jnp.where(real_BT1, x_BTD, 0), place_B[:, None, None], axis=1, mode="clip")[:, 0]


def sentence_vectors(
    model: Any, variables: Any, tokens_BT: jax.Array, segments_BT: jax.Array, pool: Pool = "mean"
) -> jax.Array:
    """Embed texts as vectors of length 1, [B, D]: the mean of the token vectors (Reimers & Gurevych 2019).

    The dot product of two vectors is their cosine similarity. A row of padding alone gives zeros.

    Args:
        model: a text model that has `encode`.
        variables: the model's variables.
        tokens_BT: int32.
        segments_BT: int32; 0 is padding.
        pool: what is taken in the place of the mean, see `pool_tokens`.
    """
    x_BTD = model.apply(variables, tokens_BT, segments=segments_BT, method="encode")
    x_BD = pool_tokens(x_BTD, segments_BT > 0, pool)
    return x_BD / jnp.maximum(jnp.linalg.norm(x_BD, axis=-1, keepdims=True), 1e-12)


def _encode(
    encoder: Any,
    tokens_BT: jax.Array,
    segments: jax.Array | None,
    types: jax.Array | None,
    positions: jax.Array | None,
    train: bool,
) -> jax.Array:
    """Call the encoder without the inputs that are None, since not every encoder takes all of them."""
    layout = {"segments": segments, "types": types, "positions": positions}
    return encoder.encode(tokens_BT, **{name: x for name, x in layout.items() if x is not None}, train=train)
