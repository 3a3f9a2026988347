"""The original encoder-decoder transformer (Vaswani et al. 2017, arXiv:1706.03762).

B batch, T tokens of a text, V vocabulary, D width.
"""

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.models.encoder_decoder import TextToText
from jaxlm.models.encoder_decoder_layers import Block, Stack
from jaxlm.nn.embed import Embed
from jaxlm.nn.position import sinusoids


class Transformer(TextToText):
    """A transformer from text to text, with one token table for sources, targets and output.

    Tokens become their vectors times sqrt(width) plus sinusoidal positions, so the length of a text is not limited.
    Kernels start at N(0, 1 / fan_in), token vectors at N(0, 1 / width).

    Attributes:
        vocab: number of tokens of both languages.
        depth: layers of the encoder, and of the decoder unless `decoder_depth` is given.
        width: width of the residual stream, even.
        heads: attention heads; width is a multiple of it.
        hidden: width of the feed-forward networks; None: 4 * width.
        decoder_depth: layers of the decoder; None: `depth`.
        pre_norm: x + f(norm(x)) and a last norm, which trains without a long warm-up (Xiong et al. 2020); False:
            norm(x + f(x)), the original order.
        dropout: rate on embeddings and on the output of each branch.
        eps: of the norms.
    """

    vocab: int = 8000
    depth: int = 6
    width: int = 512
    heads: int = 8
    hidden: int | None = None
    decoder_depth: int | None = None
    pre_norm: bool = True
    dropout: float = 0.1
    eps: float = 1e-5

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the token table, the encoder and the decoder."""
        self.validate()
        self.embed = Embed(self.vocab, self.width, std=self.width**-0.5)
        super().setup()

    def stacks(self) -> tuple[Stack, Stack]:
        """Return the encoder and the decoder."""
        block = Block(
            self.heads,
            self.width // self.heads,
            self.width,
            self.hidden or 4 * self.width,
            "relu",
            self.dropout,
            0.0,
            self.eps,
            decoder=False,
            norm="layer",
            pre_norm=self.pre_norm,
            bias=True,
            scaled=True,
            parent=None,
        )
        encoder = Stack(block, self.depth, final_dropout=False, parent=None)
        return encoder, encoder.clone(layer=block.clone(decoder=True), depth=self.decoder_depth or self.depth)

    def embed_tokens(self, tokens_BT: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        """Return the vectors of tokens with their positions from `start`, [B, T, D]."""
        vectors_BTD = self.embed(tokens_BT) * self.width**0.5
        positions_T = start + jnp.arange(tokens_BT.shape[1])
        return vectors_BTD + sinusoids(positions_T, self.width)[None].astype(vectors_BTD.dtype)

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


# The shapes of the paper's table 3, with their parameters for the 37,000 tokens of English and German together.
TRANSFORMER_BASE = Transformer(vocab=37000, depth=6, width=512, heads=8, pre_norm=False)
TRANSFORMER_BIG = Transformer(vocab=37000, depth=6, width=1024, heads=16, pre_norm=False, dropout=0.3)
