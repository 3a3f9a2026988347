"""The bidirectional encoder BERT (Devlin et al. 2019, arXiv:1810.04805) and the heads that it is pre-trained with.

B batch, T tokens, D width, V vocabulary.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.attention import Attention, segment_mask
from jaxlm.nn.dropout import Dropout, check_rate
from jaxlm.nn.embed import Embed
from jaxlm.nn.feed_forward import FeedForward, Pointwise, activate
from jaxlm.nn.linear import dense
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
        """The layer, [B, T, D]; without a mask every token sees all."""
        drop = Dropout(self.dropout, deterministic=not self.train, name="drop")
        attention = Attention(self.heads, self.heads, self.depth, causal=False, name="attention")
        h_BTD, _ = attention(x_BTD, mask_B1TS=mask_B1TT)
        x_BTD = LayerNorm(self.eps, name="attention_norm")(x_BTD + drop(h_BTD))
        h_BTD = FeedForward(self.hidden, self.depth, self.activation, name="feed_forward")(x_BTD)
        return LayerNorm(self.eps, name="feed_forward_norm")(x_BTD + drop(h_BTD))


class BERT(Module):
    """Tokens to vectors that have seen the whole text; the module is its own config, every field a plain value.

    vocab, types: how many tokens and how many token types (such as first and second sentence) there are.
    depth, width, heads: layers, width of the vectors, attention heads.
    context: the longest sequence.    hidden: width of the feed-forward network, by default 4 * width.
    activation: see `FeedForward`; the published models have "gelu_exact".
    dropout: rate on the embeddings and on both residual branches, in training; then an rng named "dropout" is needed.
    remat: recompute each layer in the backward pass.    eps: of the norms.

    Parameters are made by what is used: `encode` alone has no pooler. Kernels start as in GPT-2 (`jaxlm.nn.linear`);
    Devlin et al. draw those of the residual branches as wide as the others. The dtype is that of the parameters, with
    the statistics of norms and the softmax in float32.
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

    def setup(self) -> None:
        """Declare the parts."""
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
        """What `encode` gives, [B, T, D], and what `pool` makes of it, [B, D]."""
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
        """The vectors of int32 tokens after the last layer, [B, T, D]; outside of the vocabulary NaN.

        Args:
          tokens_BT: T at most `context`.
          segments: int32 [B, T]; tokens attend to those of an equal number, 0 is padding; None is one segment.
          types: int32 [B, T], below `types`; None is 0 everywhere.
          positions: int32 [B, T]; by default counted from the start of the row, or of each run of equal segments.
          train: apply dropout.

        Raises:
          BadInput: on fields that contradict each other, and on tokens longer than `context`.
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
        x_BTD = self.embed(tokens_BT) + self.position_embed(positions, length) + self.type_embed(types)
        x_BTD = self.drop(self.embed_norm(x_BTD), deterministic=not train)
        for layer in range(self.depth):
            x_BTD = self._block(f"block_{layer}", train)(x_BTD, mask_B1TT)
        return x_BTD

    def pool(self, x_BTD: jax.Array) -> jax.Array:
        """A dense layer and tanh of the first token's vector, [B, D]: what the next-sentence head reads."""
        return jnp.tanh(self.pooler(x_BTD[:, 0]))

    def read_out(self, x_BTD: jax.Array) -> jax.Array:
        """The product with every token's vector, [B, T, V]."""
        return self.embed.attend(x_BTD)

    def _block(self, name: str, train: bool) -> Block:
        kind = nn.remat(Block) if self.remat else Block
        hidden = self.hidden or 4 * self.width
        return kind(self.heads, hidden, self.depth, self.activation, self.dropout, self.eps, train, name=name)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
          BadInput: one line that names the fields and the mend.
        """
        for name in ("vocab", "depth", "width", "heads", "context", "hidden", "types"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"model.{name} is {value}: it must be at least 1")
        if self.width % self.heads:
            raise BadInput(f"model.heads {self.heads} does not divide model.width {self.width}: change one of the two")
        check_rate(self.dropout)

    def parameter_count(self) -> int:
        """The number of trained scalars, the pooler's among them, counted from the fields alone."""
        self.validate()
        width, hidden = self.width, self.hidden or 4 * self.width
        layer = (4 * width + 4) * width + (2 * width + 1) * hidden + width + 4 * width
        return (self.vocab + self.context + self.types + 2) * width + self.depth * layer + (width + 1) * width

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of training on one token of a sequence of `length`, forward and backward.

        6 N + 12 L D T (Chowdhery et al. 2022, PaLM, appendix B), with N the parameters less the tables that are only
        looked up; heads come on top.
        """
        tables = (self.vocab + self.context + self.types) * self.width
        matrices = self.parameter_count() - tables - (self.width + 1) * self.width
        return 6.0 * matrices + 12.0 * self.depth * self.width * length


class MaskedHead(Module):
    """What makes logits of vectors: dense, activation and norm, the product with the token table, and a bias."""

    vocab: int
    activation: Pointwise
    eps: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array, encoder: BERT) -> jax.Array:
        """Logits [B, T, V]."""
        x_BTD = activate(dense(x_BTD.shape[-1], bias=True, name="transform")(x_BTD), self.activation)
        bias_V = self.param("bias", nn.initializers.zeros, (self.vocab,))
        return encoder.read_out(LayerNorm(self.eps, name="norm")(x_BTD)) + bias_V[None, None]


class MaskedLanguageModel(Module):
    """BERT with the heads of its pre-training (Devlin et al. 2019, section 3.1).

    encoder: the BERT; its parameters lie under "encoder/", those of the logits of tokens under "head/".
    next_sentence: whether there is a head, "next_sentence/", that tells if the second sentence follows the first.
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
        """Logits of what stood at each place, [B, T, V]; with `next_sentence` also [B, 2]: class 0 is that it follows.

        Arguments and errors as for `BERT.encode`.
        """
        encoder = self.encoder
        x_BTD = encoder.encode(tokens_BT, segments=segments, types=types, positions=positions, train=train)
        logits_BTV = MaskedHead(encoder.vocab, encoder.activation, encoder.eps, name="head")(x_BTD, encoder)
        if not self.next_sentence:
            return logits_BTV
        return logits_BTV, dense(2, bias=True, name="next_sentence")(encoder.pool(x_BTD))

    def validate(self) -> None:
        """Check the fields; raises as `BERT.validate`."""
        self.encoder.validate()

    def flops_per_token(self, length: int) -> float:
        """As `BERT.flops_per_token`, with the logits of every token."""
        width = self.encoder.width
        return self.encoder.flops_per_token(length) + 6.0 * width * (width + self.encoder.vocab)
