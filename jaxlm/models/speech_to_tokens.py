"""From features of speech to a token or a blank for each of its moments (connectionist temporal classification).

B batch, F frames, M mel bands, T outputs, D width, V tokens.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.conformer import Conformer
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.recurrent import LSTMLayer
from jaxlm.nn.speech import SpeechFrontEnd, halved, within


class BiLSTM(Module):
    """LSTM layers in both directions (Graves & Schmidhuber 2005), each after a layer normalisation.

    Attributes:
        depth: layers.
        width: D; each direction has half of it.
        dropout: rate on the input of every layer.
    """

    depth: int = 2
    width: int = 128
    dropout: float = 0.1

    hyperparameters = ("dropout",)

    @nn.compact
    def __call__(self, x_BTD: jax.Array, lengths_B: jax.Array, *, train: bool = False) -> jax.Array:
        """Encode vectors of frames, [B, T, D]; `lengths_B` int32 are the frames that are not padding."""
        segments_BT = within(lengths_B, x_BTD.shape[1]).astype(jnp.int32)
        for layer in range(self.depth):
            y_BTD = LayerNorm(name=f"norm_{layer}")(x_BTD)
            y_BTD = Dropout(self.dropout, deterministic=not train, name=f"drop_{layer}")(y_BTD)
            both = [
                LSTMLayer(self.width // 2, reverse, name=f"{name}_{layer}")(y_BTD, segments_BT)
                for name, reverse in (("forward", False), ("backward", True))
            ]
            x_BTD = jnp.concatenate(both, -1)
        return x_BTD


class SpeechToTokens(Module):
    """A convolutional front end, an encoder, and the logits of each token and of the blank, which is the last.

    Graves et al. 2006 for what the logits mean; see `losses.ctc`.

    Law: the outputs of an utterance depend neither on its padding nor on the other rows of its batch.

    Attributes:
        vocab: number of tokens V, the blank not counted.
        encoder: a `BiLSTM` or a `Conformer`.
        bands: mel bands M of the features.
        channels: of the convolutions.
        dropout: rate on the output of the encoder.
    """

    vocab: int
    encoder: BiLSTM | Conformer
    bands: int = 80
    channels: int = 32
    dropout: float = 0.1

    hyperparameters = ("dropout",)
    stride = 4  # frames of an output

    @nn.compact
    def __call__(self, features_BFM: jax.Array, frames_B: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits [B, T, V + 1], of which the first `outputs(frames)` of a row mean something.

        Args:
            features_BFM: standardised features, 0 on padding.
            frames_B: int32, the frames of each row.
            train: apply dropout.

        Raises:
            BadInput: fields out of their range.
        """
        self.validate()
        x_BTD, lengths_B = SpeechFrontEnd(self.channels, self.encoder.width, name="front")(features_BFM, frames_B)
        x_BTD = self.encoder(x_BTD, lengths_B, train=train)
        x_BTD = Dropout(self.dropout, deterministic=not train, name="drop")(LayerNorm(name="norm")(x_BTD))
        return Dense(self.vocab + 1, name="logits")(x_BTD)

    @property
    def blank(self) -> int:
        """The number of the blank."""
        return self.vocab

    @staticmethod
    def outputs(frames: Any) -> Any:
        """Return how many outputs so many frames have: a quarter of them, rounded up."""
        return halved(halved(frames))
