"""The text-to-text transformer (Raffel et al. 2020, arXiv:1910.10683), versions 1.0 and 1.1.

B batch, T tokens of a text, S tokens of the source, U slots of a cache, V vocabulary, D width, N heads, H head width.
"""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.nn.attention import Cache, attend, segment_mask
from jaxlm.nn.dropout import Dropout, check_rate
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import RMSNorm
from jaxlm.nn.position import RelativePositions

Keys = tuple[jax.Array, jax.Array]  # keys and values [B, S, N, H] of one layer


class Source(NamedTuple):
    """What a decoder reads of an encoded text: keys and values for each layer, and who may look at them."""

    layers: tuple[Keys, ...]
    mask_B1TS: jax.Array | None


class DecoderCache(NamedTuple):
    """The source, and the keys and values of the target tokens so far."""

    source: Source
    targets: Cache


class Attention(Module):
    """Multi-head attention without biases and without a scale: the initial queries are smaller instead."""

    heads: int
    head_width: int
    width: int

    def setup(self) -> None:
        """Declare the four projections."""
        inner, std = self.heads * self.head_width, self.width**-0.5
        self.query = dense(inner, bias=False, std=std * self.head_width**-0.5, name="query")
        self.key = dense(inner, bias=False, std=std, name="key")
        self.value = dense(inner, bias=False, std=std, name="value")
        self.output = dense(self.width, bias=False, std=inner**-0.5, name="output")

    def keys(self, x_BSD: jax.Array) -> Keys:
        """Keys and values of what is looked at, [B, S, N, H] each."""
        return self._heads(self.key(x_BSD)), self._heads(self.value(x_BSD))

    def __call__(
        self, x_BTD: jax.Array, keys: Keys, mask_B1TS: jax.Array | None, bias_1NTS: jax.Array | None, *, causal: bool
    ) -> jax.Array:
        """The attended [B, T, D]; a mask replaces causality."""
        query_BTNH = self._heads(self.query(x_BTD))
        y_BTNH = attend(query_BTNH, *keys, mask_B1TS, causal=causal, bias_1NTS=bias_1NTS, scale=1.0)
        return self.output(y_BTNH.reshape(*x_BTD.shape[:2], -1))

    def _heads(self, x_BTD: jax.Array) -> jax.Array:
        return x_BTD.reshape(*x_BTD.shape[:2], self.heads, self.head_width)


class FeedForward(Module):
    """down(relu(up(x))), or down(gelu(gate(x)) * up(x)) in version 1.1 (Shazeer 2020, equation 6); no biases."""

    hidden: int
    activation: Literal["relu", "geglu"]
    dropout: float

    @nn.compact
    def __call__(self, x_BTD: jax.Array, *, train: bool) -> jax.Array:
        """The network, [B, T, D]."""
        width = x_BTD.shape[-1]
        up_BTF = dense(self.hidden, bias=False, std=width**-0.5, name="up")(x_BTD)
        if self.activation == "geglu":
            h_BTF = jax.nn.gelu(dense(self.hidden, bias=False, std=width**-0.5, name="gate")(x_BTD)) * up_BTF
        else:
            h_BTF = jax.nn.relu(up_BTF)
        h_BTF = Dropout(self.dropout, deterministic=not train, name="drop")(h_BTF)
        return dense(width, bias=False, std=self.hidden**-0.5, name="down")(h_BTF)


class Block(Module):
    """One layer: attention, in a decoder attention to the source, feed-forward; each is x + f(norm(x))."""

    heads: int
    head_width: int
    width: int
    hidden: int
    activation: Literal["relu", "geglu"]
    dropout: float
    eps: float
    decoder: bool

    def setup(self) -> None:
        """Declare the parts; only a decoder attends to a source."""
        self.attention_norm = RMSNorm(self.eps)
        self.attention = Attention(self.heads, self.head_width, self.width)
        if self.decoder:
            self.source_norm = RMSNorm(self.eps)
            self.source_attention = Attention(self.heads, self.head_width, self.width)
        self.feed_forward_norm = RMSNorm(self.eps)
        self.feed_forward = FeedForward(self.hidden, self.activation, self.dropout)
        self.drop = Dropout(self.dropout)

    def __call__(
        self,
        x_BTD: jax.Array,
        mask_B1TS: jax.Array | None,
        bias_1NTS: jax.Array,
        source: tuple[Keys, jax.Array | None] | None,
        cache: Cache | None,
        layer: int,
        train: bool,
    ) -> tuple[jax.Array, Cache | None]:
        """The layer's x [B, T, D], and the cache with its keys; `source` is this layer's keys and their mask."""
        h_BTD = self.attention_norm(x_BTD)
        keys = self.attention.keys(h_BTD)
        if cache is not None:
            cache = cache.write(layer, *keys)
            keys = (cache.keys[layer], cache.values[layer])
        h_BTD = self.attention(h_BTD, keys, mask_B1TS, bias_1NTS, causal=self.decoder)
        x_BTD = x_BTD + self.drop(h_BTD, deterministic=not train)
        if source is not None:
            h_BTD = self.source_attention(self.source_norm(x_BTD), *source, None, causal=False)
            x_BTD = x_BTD + self.drop(h_BTD, deterministic=not train)
        h_BTD = self.feed_forward(self.feed_forward_norm(x_BTD), train=train)
        return x_BTD + self.drop(h_BTD, deterministic=not train), cache


class Stack(Module):
    """The layers of the encoder or of the decoder, with one table of relative positions for all of them."""

    layer: Block
    depth: int
    buckets: int
    reach: int

    def setup(self) -> None:
        """Declare positions, layers and the last norm."""
        heads, std = self.layer.heads, self.layer.width**-0.5
        self.positions = RelativePositions(heads, self.buckets, self.reach, not self.layer.decoder, std)
        self.block = [self.layer.clone() for _ in range(self.depth)]
        self.final_norm = RMSNorm(self.layer.eps)
        self.drop = Dropout(self.layer.dropout)

    def __call__(
        self,
        x_BTD: jax.Array,
        mask_B1TS: jax.Array | None,
        source: Source | None = None,
        cache: Cache | None = None,
        *,
        train: bool = False,
    ) -> tuple[jax.Array, Cache | None]:
        """Hidden vectors [B, T, D] after the last norm, and the cache with these tokens in it."""
        length = x_BTD.shape[1]
        begin, slots = (0, length) if cache is None else (cache.filled, cache.keys.shape[2])
        bias_1NTS = self.positions(begin + jnp.arange(length), jnp.arange(slots)).astype(x_BTD.dtype)
        x_BTD = self.drop(x_BTD, deterministic=not train)
        for layer, block in enumerate(self.block):
            own = None if source is None else (source.layers[layer], source.mask_B1TS)
            x_BTD, cache = block(x_BTD, mask_B1TS, bias_1NTS, own, cache, layer, train)
        x_BTD = self.drop(self.final_norm(x_BTD), deterministic=not train)
        return x_BTD, None if cache is None else cache._replace(filled=cache.filled + length)

    def read(self, memory_BSD: jax.Array, mask_B1TS: jax.Array | None) -> Source:
        """The keys and values that the layers of a decoder see of an encoded text."""
        return Source(tuple(block.source_attention.keys(memory_BSD) for block in self.block), mask_B1TS)


class T5(Module):
    """Text in, text out: an encoder, and a decoder that looks at what it encoded; the module is its own config.

    Fields: `vocab` tokens, `depth` layers of the encoder and, unless `decoder_depth` says otherwise, of the decoder,
    `width` of the residual stream, `heads`, `hidden` width of the feed-forward networks, `head_width` (heads *
    head_width need not be the width), `activation` ("relu" in version 1.0, "geglu" in 1.1), `buckets` and `reach` of
    the relative positions, `dropout` on embeddings, hidden units, residual branches and outputs (not on attention
    weights), `tied` read-out, which then takes hidden vectors times 1 / sqrt(width) (1.0; untied in 1.1), `eps`.

    Every kernel starts at N(0, 1 / fan_in), queries at 1 / head_width of that variance, token vectors at N(0, 1).
    There is no longest text.
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

    def setup(self) -> None:
        """Declare the table of tokens, which both sides share, the two stacks, and an untied read-out."""
        self.validate()
        block = Block(
            self.heads,
            self.head_width,
            self.width,
            self.hidden,
            self.activation,
            self.dropout,
            self.eps,
            decoder=False,
            parent=None,
        )
        self.embed = Embed(self.vocab, self.width, std=1.0)
        self.encoder = Stack(block, self.depth, self.buckets, self.reach)
        self.decoder = Stack(block.clone(decoder=True), self.decoder_depth or self.depth, self.buckets, self.reach)
        if not self.tied:
            self.head = dense(self.vocab, bias=False, std=self.width**-0.5, name="head")

    def __call__(
        self,
        tokens_BS: jax.Array,
        targets_in_BT: jax.Array,
        *,
        segments: jax.Array | None = None,
        target_segments: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Logits [B, T, V] of the target token after each one of `targets_in_BT`.

        Args:
          tokens_BS: int32, the source; a token outside of the vocabulary gives NaN.
          targets_in_BT: int32, a start token and then the targets but for the last.
          segments: int32 [B, S]; 0 is padding. None: all of a row is segment 1.
          target_segments: int32 [B, T]; a target token attends to earlier ones, and to all source tokens, of an equal
            number. None: all of a row is segment 1.
          train: apply dropout; then, where `dropout` > 0, an rng named "dropout" is needed.
        """
        memory_BSD = self.encode(tokens_BS, segments=segments, train=train)
        mask_B1TS = None
        if segments is not None or target_segments is not None:
            of_source = jnp.ones_like(tokens_BS) if segments is None else segments
            of_target = jnp.ones_like(targets_in_BT) if target_segments is None else target_segments
            mask_B1TS = (of_target[:, :, None] == of_source[:, None, :])[:, None]
        causal_B1TT = None if target_segments is None else segment_mask(target_segments)
        source = self.decoder.read(memory_BSD, mask_B1TS)
        hidden_BTD, _ = self.decoder(self.embed(targets_in_BT), causal_B1TT, source, train=train)
        return self._logits(hidden_BTD)

    def encode(self, tokens_BS: jax.Array, *, segments: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Hidden vectors of a text, [B, S, D]; a token attends to those of an equal segment number."""
        mask_B1SS = None if segments is None else segment_mask(segments, causal=False)
        return self.encoder(self.embed(tokens_BS), mask_B1SS, train=train)[0]

    def init_cache(self, tokens_BS: jax.Array, length: int, *, segments: jax.Array | None = None) -> DecoderCache:
        """What `decode` begins with: the encoded source (segment 1 of `segments`), and `length` free slots."""
        memory_BSD = self.encode(tokens_BS, segments=segments)
        source = self.decoder.read(memory_BSD, None if segments is None else (segments == 1)[:, None, None])
        batch = len(tokens_BS)
        slots = jnp.zeros((self.decoder.depth, batch, length, self.heads, self.head_width), memory_BSD.dtype)
        return DecoderCache(source, Cache(slots, slots, jnp.zeros((), jnp.int32), jnp.zeros(batch, jnp.int32)))

    def decode(self, targets_BT: jax.Array, *, cache: DecoderCache) -> tuple[jax.Array, DecoderCache]:
        """Logits [B, T, V] of the token after each of the next target tokens, and the cache with these in it."""
        mask_B1TU = cache.targets.mask(targets_BT.shape[1])
        hidden_BTD, targets = self.decoder(self.embed(targets_BT), mask_B1TU, *cache)
        assert targets is not None  # a cache in, a cache out
        return self._logits(hidden_BTD), cache._replace(targets=targets)

    def _logits(self, hidden_BTD: jax.Array) -> jax.Array:
        return self.embed.attend(hidden_BTD * self.width**-0.5) if self.tied else self.head(hidden_BTD)

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
          BadInput: one line that names the field and the mend.
        """
        for name in ("vocab", "depth", "width", "heads", "hidden", "head_width", "decoder_depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"model.{name} is {value}: it must be at least 1")
        if self.buckets < 4 or self.buckets % 2:
            raise BadInput(f"model.buckets is {self.buckets}: it must be even and at least 4")
        if self.reach <= self.buckets // 2:
            raise BadInput(f"model.reach {self.reach} must be more than half of model.buckets {self.buckets}: raise it")
        check_rate(self.dropout)


# The published shapes, with their parameters.
T5_SMALL = T5(vocab=32128, depth=6, width=512, heads=8, hidden=2048)  # 60,506,624
T5_BASE = T5(vocab=32128, depth=12, width=768, heads=12, hidden=3072)  # 222,903,552
T5_SMALL_1_1 = T5(vocab=32128, depth=8, width=512, heads=6, hidden=1024, activation="geglu", tied=False)  # 76,961,152
