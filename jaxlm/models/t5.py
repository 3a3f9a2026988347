"""The text-to-text transformer (Raffel et al. 2020, arXiv:1910.10683), versions 1.0 and 1.1.

B batch, T tokens of a text, V vocabulary, D width.
"""

from typing import Literal

import jax

from jaxlm.errors import BadInput
from jaxlm.models.encoder_decoder import TextToText
from jaxlm.models.encoder_decoder_layers import Block, Stack
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import dense


class T5(TextToText):
    """T5, an encoder-decoder transformer from text to text; the module is its own config.

    Every kernel starts at N(0, 1 / fan_in), queries at 1 / head_width of that variance, token vectors at N(0, 1). The
    length of a text is not limited.

    Attributes:
        vocab: number of tokens.
        depth: layers of the encoder, and of the decoder unless `decoder_depth` is given.
        width: width of the residual stream.
        heads: attention heads.
        hidden: width of the feed-forward networks.
        head_width: width of a head; heads * head_width may differ from `width`.
        decoder_depth: layers of the decoder; None: `depth`.
        activation: "relu" in version 1.0, "geglu" in 1.1.
        buckets: number of buckets of the relative positions.
        reach: distance from which on all share one bucket (see `RelativePositions`).
        dropout: rate on embeddings, hidden units, residual branches and outputs (not on attention weights).
        tied: use the token table as the output layer, with hidden vectors times 1 / sqrt(width) (1.0; not tied in 1.1).
        eps: of the norms.
    """

    vocab: int
    depth: int
    width: int
    heads: int
    hidden: int
    head_width: int = 64
    decoder_depth: int | None = None
    activation: Literal["relu", "geglu"] = "relu"
    buckets: int = 32
    reach: int = 128
    dropout: float = 0.0
    tied: bool = True
    eps: float = 1e-6

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the shared token table, the encoder, the decoder, and the output layer unless it is tied."""
        self.validate()
        self.embed = Embed(self.vocab, self.width, std=1.0)
        super().setup()
        if not self.tied:
            self.head = dense(self.vocab, bias=False, std=self.width**-0.5, name="head")

    def stacks(self) -> tuple[Stack, Stack]:
        """Return the encoder and the decoder; each has a table of relative positions."""
        block = Block(
            self.heads,
            self.head_width,
            self.width,
            self.hidden,
            self.activation,
            self.dropout,
            self.dropout,
            self.eps,
            decoder=False,
            parent=None,
        )
        encoder = Stack(block, self.depth, self.buckets, self.reach, parent=None)
        return encoder, encoder.clone(layer=block.clone(decoder=True), depth=self.decoder_depth or self.depth)

    def embed_tokens(self, tokens_BT: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        """Return the vectors of tokens, [B, T, D]; positions are in the layers."""
        del start
        return self.embed(tokens_BT)

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """Return the logits of hidden vectors, [B, T, V]."""
        return self.embed.attend(hidden_BTD * self.width**-0.5) if self.tied else self.head(hidden_BTD)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the field and how to fix it.
        """
        super().validate()
        if self.buckets < 4 or self.buckets % 2:
            raise BadInput(f"model.buckets is {self.buckets}: it must be even and at least 4")
        if self.reach <= self.buckets // 2:
            raise BadInput(f"model.reach {self.reach} must be more than half of model.buckets {self.buckets}: raise it")


# The published shapes, with their parameters.
T5_SMALL = T5(vocab=32128, depth=6, width=512, heads=8, hidden=2048)  # 60,506,624
T5_BASE = T5(vocab=32128, depth=12, width=768, heads=12, hidden=3072)  # 222,903,552
T5_SMALL_1_1 = T5(vocab=32128, depth=8, width=512, heads=6, hidden=1024, activation="geglu", tied=False)  # 76,961,152
