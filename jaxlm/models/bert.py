"""The bidirectional encoder BERT (Devlin et al. 2019, arXiv:1810.04805) and its pre-training heads.

B batch, T tokens, D width, V vocabulary.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.attention import Attention, segment_mask
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embed import Embed
from jaxlm.nn.feed_forward import FeedForward, Pointwise, activate
from jaxlm.nn.linear import broadcast, dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm
from jaxlm.nn.position import LearnedPositions, positions_within


class Block(Module):
    """One post-norm layer: norm(x + attention(x)), then norm(x + feed_forward(x)) (Vaswani et al. 2017, 3.1)."""

    heads: int
    hidden: int
    depth: int
    activation: Pointwise
    dropout: float
    eps: float
    train: bool

    @nn.compact
    def __call__(self, x_BTD: jax.Array, mask_B1TT: jax.Array | None) -> jax.Array:
        """Apply the layer, [B, T, D]; without a mask every token attends to all."""
        drop = Dropout(self.dropout, deterministic=not self.train, name="drop")
        attention = Attention(self.heads, self.heads, self.depth, causal=False, name="attention")
        h_BTD, _ = attention(x_BTD, mask_B1TS=mask_B1TT)
        x_BTD = LayerNorm(self.eps, name="attention_norm")(x_BTD + drop(h_BTD))
        h_BTD = FeedForward(self.hidden, self.depth, self.activation, name="feed_forward")(x_BTD)
        return LayerNorm(self.eps, name="feed_forward_norm")(x_BTD + drop(h_BTD))


class BERT(Module):
    """A bidirectional transformer encoder of text; the module is its own config, and every field is a plain value.

    Parameters are created for the methods that are used: `encode` alone has no pooler. Kernels start as in GPT-2
    (`jaxlm.nn.linear`); Devlin et al. do not scale down those of the residual branches. The computation follows the
    dtype of the parameters, with the statistics of norms and the softmax in float32.

    Attributes:
        vocab: number of tokens.
        depth: number of layers.
        width: width of the vectors.
        heads: attention heads.
        context: the longest sequence.
        hidden: width of the feed-forward network; None: 4 * width.
        types: number of token types, such as first and second sentence.
        activation: see `FeedForward`; the published models have "gelu_exact".
        dropout: rate on the embeddings and on both residual branches in training; it needs an rng named "dropout".
        remat: recompute each layer in the backward pass.
        eps: of the norms.
    """

    vocab: int
    depth: int
    width: int
    heads: int
    context: int = 512
    hidden: int | None = None
    types: int = 2
    activation: Pointwise = "gelu_exact"
    dropout: float = 0.0
    remat: bool = False
    eps: float = 1e-12

    hyperparameters = ("dropout",)

    def setup(self) -> None:
        """Create the embeddings and the pooler."""
        self.validate()
        self.embed = Embed(self.vocab, self.width)
        self.position_embed = LearnedPositions(self.context, self.width)
        self.type_embed = Embed(self.types, self.width)
        self.embed_norm = LayerNorm(self.eps)
        self.drop = Dropout(self.dropout)
        self.pooler = dense(self.width, bias=True, name="pooler")

    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the output of `encode`, [B, T, D], and of `pool`, [B, D]."""
        x_BTD = self.encode(tokens_BT, segments=segments, types=types, positions=positions, train=train)
        return x_BTD, self.pool(x_BTD)

    @nn.compact
    def encode(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Encode tokens into contextual vectors, those after the last layer.

        Args:
            tokens_BT: int32, T at most `context`.
            segments: int32 [B, T]; tokens attend to those of the same number, 0 is padding. None: one segment.
            types: int32 [B, T], below `types`. None: 0 everywhere.
            positions: int32 [B, T]. None: counted from the start of the row, or of each run of equal segments.
            train: apply dropout.

        Returns:
            [B, T, D]; NaN for tokens outside the vocabulary.

        Raises:
            BadInput: fields that contradict each other, or more tokens than `context`.
        """
        length, mask_B1TT = tokens_BT.shape[1], None
        if length > self.context:
            raise BadInput(
                f"{length} tokens are longer than model.context {self.context}: shorten them or raise model.context"
            )
        if segments is not None:
            mask_B1TT = segment_mask(segments, causal=False)
            positions = positions_within(segments) if positions is None else positions
        types = jnp.zeros((1, 1), jnp.int32) if types is None else types
        x_BTD = self.embed(tokens_BT)
        x_BTD = x_BTD + broadcast(self.position_embed(positions, length), x_BTD.shape)
        x_BTD = x_BTD + broadcast(self.type_embed(types), x_BTD.shape)
        x_BTD = self.drop(self.embed_norm(x_BTD), deterministic=not train)
        for layer in range(self.depth):
            x_BTD = self._block(f"block_{layer}", train)(x_BTD, mask_B1TT)
        return x_BTD

    def pool(self, x_BTD: jax.Array) -> jax.Array:
        """Pool a text into the vector of its first token, passed through a dense layer and tanh, [B, D].

        The next-sentence head and classifiers of pretrained models use it.
        """
        return jnp.tanh(self.pooler(x_BTD[:, 0]))

    def read_out(self, x_BTD: jax.Array) -> jax.Array:
        """Compute the products with every token's vector, [B, T, V], the tied output layer without its bias."""
        return self.embed.attend(x_BTD)

    def _block(self, name: str, train: bool) -> Block:
        kind = nn.remat(Block) if self.remat else Block
        hidden = self.hidden or 4 * self.width
        return kind(self.heads, hidden, self.depth, self.activation, self.dropout, self.eps, train, name=name)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            BadInput: one line that names the fields and how to fix them.
        """
        super().validate()
        if self.width % self.heads:
            raise BadInput(f"model.heads {self.heads} does not divide model.width {self.width}: change one of the two")

    def parameter_count(self) -> int:
        """Count the trained scalars, with the pooler's, from the fields alone."""
        self.validate()
        width, hidden = self.width, self.hidden or 4 * self.width
        layer = (4 * width + 4) * width + (2 * width + 1) * hidden + width + 4 * width
        return (self.vocab + self.context + self.types + 2) * width + self.depth * layer + (width + 1) * width

    def flops_per_token(self, length: int) -> float:
        """Estimate the floating-point operations of training on one token of a sequence of this length.

        Forward and backward, 6 N + 12 L D T (Chowdhery et al. 2022, PaLM, appendix B). N counts the parameters without
        the embedding tables, which are only looked up. Heads are not included.
        """
        tables = (self.vocab + self.context + self.types) * self.width
        matrices = self.parameter_count() - tables - (self.width + 1) * self.width
        return 6.0 * matrices + 12.0 * self.depth * self.width * length


class MaskedHead(Module):
    """The masked language modelling head: dense, activation, norm, product with the token table, and bias."""

    vocab: int
    activation: Pointwise
    eps: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array, encoder: BERT) -> jax.Array:
        """Return the logits [B, T, V]."""
        x_BTD = activate(dense(x_BTD.shape[-1], bias=True, name="transform")(x_BTD), self.activation)
        bias_V = self.param("bias", nn.initializers.zeros, (self.vocab,), jnp.float32)
        logits_BTV = encoder.read_out(LayerNorm(self.eps, name="norm")(x_BTD))
        return logits_BTV + broadcast(bias_V, logits_BTV.shape)


class MaskedLanguageModel(Module):
    """BERT with its pre-training heads (Devlin et al. 2019, section 3.1).

    Attributes:
        encoder: the BERT; its parameters are under "encoder/", those of the token logits under "head/".
        next_sentence: add a head, "next_sentence/", that predicts whether the second sentence follows the first.
    """

    encoder: BERT
    next_sentence: bool = False

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        types: jax.Array | None = None,
        positions: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Predict the original token at each place, as logits [B, T, V]; arguments as for `BERT.encode`.

        With `next_sentence`, return also logits [B, 2], of which class 0 says that the second sentence follows the
        first.
        """
        encoder = self.encoder
        x_BTD = encoder.encode(tokens_BT, segments=segments, types=types, positions=positions, train=train)
        logits_BTV = MaskedHead(encoder.vocab, encoder.activation, encoder.eps, name="head")(x_BTD, encoder)
        if not self.next_sentence:
            return logits_BTV
        return logits_BTV, dense(2, bias=True, name="next_sentence")(encoder.pool(x_BTD))

    def flops_per_token(self, length: int) -> float:
        """Estimate as `BERT.flops_per_token`, with the logits of every token."""
        width = self.encoder.width
        return self.encoder.flops_per_token(length) + 6.0 * width * (width + self.encoder.vocab)
