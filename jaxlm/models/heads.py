"""What stands on an encoder of text: one decision for a row of tokens, or one for each token.

B batch, T tokens, D width of the encoder, K classes.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import dense
from jaxlm.nn.module import Module


class Classifier(Module):
    """A row of tokens to logits [B, classes].

    encoder: a text model that offers `encode(tokens, *, segments, types, positions, train)` -> [B, T, D].
    pool: how a row becomes one vector, padding left out: the "first" token, the "mean" or the "max" of all, the "last"
      one, or the encoder's own "pooler", its method `pool` of [B, T, D] (BERT: a dense layer and tanh of the first
      token, which its pretrained weights bring).
    dropout: rate between that vector and the head, in training; then an rng named "dropout" is needed.
    Parameters lie under "encoder/" and "head/".
    """

    encoder: Any
    classes: int
    pool: Literal["pooler", "first", "mean", "max", "last"] = "first"
    dropout: float = 0.0

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
        """Logits of each class of int32 tokens; where `segments` are 0 is padding, and without them there is none.

        Raises:
          BadInput: where the encoder has no pooler of its own and is asked for it.
        """
        x_BTD = _encode(self.encoder, tokens_BT, segments, types, positions, train)
        if self.pool == "pooler":
            if not hasattr(self.encoder, "pool"):
                raise BadInput(f"model.pool is pooler, which {type(self.encoder).__name__} has not: take another pool")
            x_BD = self.encoder.pool(x_BTD)
        else:
            real_BT = jnp.ones(tokens_BT.shape, bool) if segments is None else segments > 0
            x_BD = pool(x_BTD, real_BT, self.pool)
        x_BD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BD)
        return dense(self.classes, bias=True, name="head")(x_BD)

    def validate(self) -> None:
        """Check the fields; raises BadInput."""
        _validate(self.encoder, self.classes)


class TokenClassifier(Module):
    """Each token to logits [B, T, classes]; the fields and the parameters' paths are those of `Classifier`."""

    encoder: Any
    classes: int
    dropout: float = 0.0

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
        """Logits of each class for each of the int32 tokens; what stands on padding has no meaning."""
        x_BTD = _encode(self.encoder, tokens_BT, segments, types, positions, train)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(x_BTD)
        return dense(self.classes, bias=True, name="head")(x_BTD)

    def validate(self) -> None:
        """Check the fields; raises BadInput."""
        _validate(self.encoder, self.classes)


def pool(x_BTD: jax.Array, real_BT: jax.Array, how: Literal["first", "mean", "max", "last"]) -> jax.Array:
    """One vector [B, D] of each row, from the places where `real_BT` (bool) holds; zeros where it holds nowhere."""
    real_BT1 = real_BT[..., None]
    if how == "mean":
        return jnp.where(real_BT1, x_BTD, 0).sum(1) / jnp.maximum(real_BT.sum(1), 1)[:, None].astype(x_BTD.dtype)
    if how == "max":
        return jnp.where(real_BT.any(1)[:, None], jnp.where(real_BT1, x_BTD, -jnp.inf).max(1), 0)
    place_BT = jnp.where(real_BT, jnp.arange(real_BT.shape[1])[None], 0 if how == "last" else real_BT.shape[1])
    place_B = place_BT.max(1) if how == "last" else place_BT.min(1)
    return jnp.take_along_axis(jnp.where(real_BT1, x_BTD, 0), place_B[:, None, None], axis=1, mode="clip")[:, 0]


def sentence_vectors(model: Any, variables: Any, tokens_BT: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """A vector of length 1 for each row, [B, D]: the mean over its tokens without padding (Reimers & Gurevych 2019).

    model: a text model that offers `encode`, with its variables; tokens and segments (0 is padding) int32. The dot
    product of two vectors is their cosine; a row of padding alone gives zeros.
    """
    x_BTD = model.apply(variables, tokens_BT, segments=segments_BT, method="encode")
    x_BD = pool(x_BTD, segments_BT > 0, "mean")
    return x_BD / jnp.maximum(jnp.linalg.norm(x_BD, axis=-1, keepdims=True), 1e-12)


def _encode(
    encoder: Any,
    tokens_BT: jax.Array,
    segments: jax.Array | None,
    types: jax.Array | None,
    positions: jax.Array | None,
    train: bool,
) -> jax.Array:
    """The encoder's [B, T, D]; what is not given is not passed, since not every encoder knows all of it."""
    layout = {"segments": segments, "types": types, "positions": positions}
    return encoder.encode(tokens_BT, **{name: x for name, x in layout.items() if x is not None}, train=train)


def _validate(encoder: Any, classes: int) -> None:
    encoder.validate()
    if classes < 1:
        raise BadInput(f"model.classes is {classes}: it must be at least 1")
