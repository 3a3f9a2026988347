"""Whisper, from log-mel frames of speech to tokens of text (Radford et al. 2022, arXiv:2212.04356).

B batch, F frames, M mel bands, S places of the encoded sound (F / 2), T tokens, V vocabulary, D width.
"""

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.encoder_decoder import TextToText
from jaxlm.models.encoder_decoder_layers import Block, Stack
from jaxlm.nn.conv import Conv
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import KERNEL_STD, broadcast
from jaxlm.nn.module import Module
from jaxlm.nn.position import LearnedPositions, sinusoids


class Whisper(TextToText):
    """An encoder of sound and a decoder of text; the tied token table is the output layer.

    Two convolutions over time, of which the second halves the frames, then pre-norm transformers. The model attends to
    all frames that it is given, silence included: it was trained on windows of 30 seconds, filled up with silence.

    Attributes:
        vocab: number of tokens.
        depth: layers of the encoder, and of the decoder unless `decoder_depth` is given.
        width: width of the residual stream, even.
        heads: attention heads; width is a multiple of it.
        hidden: width of the feed-forward networks; None: 4 * width.
        decoder_depth: layers of the decoder; None: `depth`.
        bands: mel bands of the sound (M).
        source_context: places of the encoded sound at most, half as many as frames.
        context: tokens of a target at most.
        dropout: rate on embeddings and on the output of each branch.
        eps: of the norms.
    """

    vocab: int = 51865
    depth: int = 4
    width: int = 384
    heads: int = 6
    hidden: int | None = None
    decoder_depth: int | None = None
    bands: int = 80
    source_context: int = 1500
    context: int = 448
    dropout: float = 0.0
    eps: float = 1e-5

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the convolutions, the tables, the encoder and the decoder."""
        self.validate()
        along_time = ((0, 0), (1, 1))
        self.conv_1 = Conv(self.width, (1, 3), padding=along_time, bias=True)
        self.conv_2 = Conv(self.width, (1, 3), stride=2, padding=along_time, bias=True)
        self.source_positions = FixedPositions(self.source_context, self.width)
        self.embed = Embed(self.vocab, self.width, std=KERNEL_STD)
        self.target_positions = LearnedPositions(self.context, self.width)
        super().setup()

    def stacks(self) -> tuple[Stack, Stack]:
        """Return the encoder and the decoder."""
        block = Block(
            self.heads,
            self.width // self.heads,
            self.width,
            self.hidden or 4 * self.width,
            "gelu",
            self.dropout,
            0.0,
            self.eps,
            decoder=False,
            norm="layer",
            bias=True,
            scaled=True,
            key_bias=False,
            parent=None,
        )
        encoder = Stack(block, self.depth, final_dropout=False, parent=None)
        return encoder, encoder.clone(layer=block.clone(decoder=True), depth=self.decoder_depth or self.depth)

    def encode(self, features_BFM: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Encode sound into hidden vectors, [B, S, D].

        Args:
            features_BFM: log-mel frames, an even number of them.
            segments: must be None, since all frames are attended to.
            train: apply dropout.

        Raises:
            BadInput: more frames than the model has places for, or an odd number.
        """
        assert segments is None
        frames = features_BFM.shape[1]
        if frames % 2 or frames > 2 * self.source_context or features_BFM.shape[2] != self.bands:
            raise BadInput(
                f"features of {frames} frames and {features_BFM.shape[2]} bands: this model takes an even number of "
                f"frames up to {2 * self.source_context}, and {self.bands} bands"
            )
        x_B1FD = jax.nn.gelu(self.conv_1(features_BFM[:, None]), approximate=False)
        x_BSD = jax.nn.gelu(self.conv_2(x_B1FD), approximate=False)[:, 0]
        x_BSD = x_BSD + self.source_positions(x_BSD.shape[1]).astype(x_BSD.dtype)
        return self.encoder(x_BSD, None, train=train)[0]

    def embed_tokens(self, tokens_BT: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        """Return the vectors of tokens whose first position is `start`, [B, T, D]; NaN beyond `context`."""
        length = tokens_BT.shape[1]
        at_start = isinstance(start, int) and start == 0 and length <= self.context
        positions_1T = None if at_start else (start + jnp.arange(length, dtype=jnp.int32))[None]
        vectors_BTD = self.embed(tokens_BT)
        return vectors_BTD + broadcast(self.target_positions(positions_1T, length), vectors_BTD.shape)

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """Return the logits of hidden vectors, [B, T, V], as products with the token table."""
        return self.embed.attend(hidden_BTD)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.width % 2 or self.width % self.heads:
            raise BadInput(f"model.width is {self.width}: it must be even and a multiple of model.heads, {self.heads}")


class FixedPositions(Module):
    """Positions that are weights and are not trained: sinusoids, unless others are loaded.

    A weight, because files have them in the precision that a model was saved in; called a bias, because optimizers
    leave biases alone in weight decay.

    Attributes:
        context: number of positions.
        width: of their vectors.
    """

    context: int
    width: int

    def setup(self) -> None:
        """Create the table."""
        self.bias = self.param("bias", lambda key: sinusoids(jnp.arange(self.context), self.width))

    def __call__(self, length: int) -> jax.Array:
        """Return the first positions, [1, length, D]."""
        return jax.lax.stop_gradient(self.bias)[None, :length]


# The published shapes, with their parameters.
WHISPER_TINY = Whisper(depth=4, width=384, heads=6)
WHISPER_BASE = Whisper(depth=6, width=512, heads=8)
WHISPER_SMALL = Whisper(depth=12, width=768, heads=12)
WHISPER_LARGE_V3_TURBO = Whisper(vocab=51866, depth=32, width=1280, heads=20, decoder_depth=4, bands=128)
