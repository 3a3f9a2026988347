"""A bidirectional LSTM as an encoder of text; with `Classifier` it is the classic text classifier.

B batch, T tokens, D width of the embedding, H width of the state in one direction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.module import Module
from jaxlm.nn.recurrent import LSTMLayer

EMBED_STD = 0.1


class LSTM(Module):
    """Token embeddings and LSTM layers in both directions (Graves & Schmidhuber 2005).

    Attributes:
        vocab: number of tokens.
        width: width of the token vectors.
        hidden: width of the state of each direction; None: `width`.
        depth: number of layers.
        both: run each layer backwards as well and concatenate the states, 2 * hidden.
        dropout: rate on the input of every layer in training; it needs an rng named "dropout".
    """

    vocab: int
    width: int
    hidden: int | None = None
    depth: int = 1
    both: bool = True
    dropout: float = 0.0

    hyperparameters = ("dropout",)

    @nn.compact
    def encode(self, tokens_BT: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Encode tokens into states, [B, T, H] or [B, T, 2 H], in the parameters' dtype.

        Law: more padding changes no bit of the states of real tokens.

        Args:
            tokens_BT: int32.
            segments: int32 [B, T]; a run of equal numbers is a text of its own, and 0 is padding, where the states are
                meaningless. None: each row is one text.
            train: apply dropout.

        Raises:
            BadInput: fields out of their range.
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
        """Return the output of `encode`."""
        return self.encode(tokens_BT, segments=segments, train=train)
