"""Bidirectional long short-term memory as an encoder of text; a `Classifier` on it is the classic text classifier.

B batch, T tokens, D width of the embedding, H width of the state, a direction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.dropout import Dropout, check_rate
from jaxlm.nn.embed import Embed
from jaxlm.nn.module import Module
from jaxlm.nn.recurrent import LSTMLayer

EMBED_STD = 0.1


class LSTM(Module):
    """Token vectors and layers of LSTM in both directions (Graves & Schmidhuber 2005).

    vocab: tokens.    width: of their vectors.    hidden: width of the state of each direction, by default `width`.
    depth: layers.    both: whether a layer also reads backwards; its states are then joined, 2 * hidden.
    dropout: rate on the input of every layer, in training; then an rng named "dropout" is needed.
    """

    vocab: int
    width: int
    hidden: int | None = None
    depth: int = 1
    both: bool = True
    dropout: float = 0.0

    @nn.compact
    def encode(self, tokens_BT: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """States [B, T, H] or [B, T, 2 H] of int32 tokens, in the parameters' dtype.

        segments: int32 [B, T]; a run of equal numbers is a text, which knows nothing of its neighbours, and 0 is
          padding, where the states have no meaning. More padding changes no bit of the others.

        Raises:
          BadInput: on fields that are out of their range.
        """
        self.validate()
        segments = jnp.ones_like(tokens_BT) if segments is None else segments
        x_BTD = Embed(self.vocab, self.width, EMBED_STD, name="embed")(tokens_BT)
        for layer in range(self.depth):
            x_BTD = Dropout(self.dropout, deterministic=not train, name=f"drop_{layer}")(x_BTD)
            x_BTD = jnp.concatenate(
                [
                    LSTMLayer(self.hidden or self.width, reverse, name=f"{name}_{layer}")(x_BTD, segments)
                    for name, reverse in (("forward", False), ("backward", True))[: 1 + self.both]
                ],
                axis=-1,
            )
        return x_BTD

    def __call__(self, tokens_BT: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """The same as `encode`."""
        return self.encode(tokens_BT, segments=segments, train=train)

    def validate(self) -> None:
        """Check the fields; raises BadInput."""
        for name in ("vocab", "width", "hidden", "depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"model.{name} is {value}: it must be at least 1")
        check_rate(self.dropout)
