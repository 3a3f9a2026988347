"""The layers of encoder-decoder transformers: attention, feed-forward network, block and stack.

Vaswani et al. 2017 (arXiv:1706.03762), and T5's variants (Raffel et al. 2020, arXiv:1910.10683). Kernels start at
N(0, 1 / fan_in).

B batch, T tokens of a text, S tokens of the source, D width, N heads, H head width.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.attention import Cache, attend_by_head
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import dense
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm, RMSNorm, make_norm
from jaxlm.nn.position import RelativePositions

InnerActivation = Literal["relu", "gelu", "geglu"]
Keys = tuple[jax.Array, jax.Array]  # keys and values [B, N, S, H] of one layer


class EncodedSource(NamedTuple):
    """An encoded source text as the decoder's cross-attention reads it.

    Attributes:
        layers: for each layer its keys and values, [B, N, S, H] each.
        mask_B1TS: bool, True where a target token may attend to a source token; None: everywhere.
    """

    layers: tuple[Keys, ...]
    mask_B1TS: jax.Array | None


class Attention(Module):
    """Multi-head attention to a text whose keys and values can be computed before (Vaswani et al. 2017, section 3.2.2).

    Attributes:
        heads: number of heads.
        head_width: width of a head.
        width: of the input and the output.
        bias: add biases in the projections.
        scaled: divide the scores by sqrt(head_width); else the initial queries are smaller by that, as in T5.
        key_bias: with `bias`, in that of the keys too, which moves all scores of a query alike.
    """

    heads: int
    head_width: int
    width: int
    bias: bool = False
    scaled: bool = False
    key_bias: bool = True

    def setup(self) -> None:
        """Create the four projections."""
        inner, std = self.heads * self.head_width, self.width**-0.5
        query_std = std if self.scaled else std * self.head_width**-0.5
        self.query = dense(inner, bias=self.bias, std=query_std, name="query")
        self.key = dense(inner, bias=self.bias and self.key_bias, std=std, name="key")
        self.value = dense(inner, bias=self.bias, std=std, name="value")
        self.output = dense(self.width, bias=self.bias, std=inner**-0.5, name="output")

    def keys(self, x_BSD: jax.Array) -> Keys:
        """Compute keys and values, [B, N, S, H] each, of the vectors that are attended to."""
        return self._heads(self.key(x_BSD)).swapaxes(1, 2), self._heads(self.value(x_BSD)).swapaxes(1, 2)

    def __call__(
        self, x_BTD: jax.Array, keys: Keys, mask_B1TS: jax.Array | None, bias_1NTS: jax.Array | None, *, causal: bool
    ) -> jax.Array:
        """Apply attention, [B, T, D]; a mask replaces causality."""
        query_BTNH = self._heads(self.query(x_BTD))
        scale = None if self.scaled else 1.0
        y_BTNH = attend_by_head(query_BTNH, *keys, mask_B1TS, causal=causal, bias_1NTS=bias_1NTS, scale=scale)
        return self.output(y_BTNH.reshape(*x_BTD.shape[:2], -1))

    def _heads(self, x_BTD: jax.Array) -> jax.Array:
        return x_BTD.reshape(*x_BTD.shape[:2], self.heads, self.head_width)


class Inner(Module):
    """The feed-forward network: down(f(up(x))), or with "geglu" down(gelu(gate(x)) * up(x)) (Shazeer 2020, equation 6).

    The f of "gelu" has the normal distribution itself, that of "geglu" its approximation by tanh.
    """

    hidden: int
    activation: InnerActivation
    dropout: float
    bias: bool = False

    @nn.compact
    def __call__(self, x_BTD: jax.Array, *, train: bool) -> jax.Array:
        """Apply the network, [B, T, D]."""
        width = x_BTD.shape[-1]
        up_BTF = dense(self.hidden, bias=self.bias, std=width**-0.5, name="up")(x_BTD)
        if self.activation == "geglu":
            h_BTF = jax.nn.gelu(dense(self.hidden, bias=self.bias, std=width**-0.5, name="gate")(x_BTD)) * up_BTF
        else:
            h_BTF = jax.nn.relu(up_BTF) if self.activation == "relu" else jax.nn.gelu(up_BTF, approximate=False)
        h_BTF = Dropout(self.dropout, deterministic=not train, name="drop")(h_BTF)
        return dense(width, bias=self.bias, std=self.hidden**-0.5, name="down")(h_BTF)


class Block(Module):
    """One layer: self-attention, in a decoder also cross-attention, and feed-forward, each with a residual branch.

    Attributes:
        heads: attention heads.
        head_width: width of a head.
        width: of the residual stream.
        hidden: width of the feed-forward network.
        activation: of the feed-forward network.
        dropout: rate on the output of each branch.
        hidden_dropout: rate on the hidden units of the feed-forward network.
        eps: of the norms.
        decoder: attend to earlier tokens only, and to a source text.
        norm: "rms" or "layer".
        pre_norm: x + f(norm(x)); else norm(x + f(x)), the original order.
        bias: add biases in all projections.
        scaled: see `Attention`.
        key_bias: see `Attention`.
    """

    heads: int
    head_width: int
    width: int
    hidden: int
    activation: InnerActivation
    dropout: float
    hidden_dropout: float
    eps: float
    decoder: bool
    norm: Literal["rms", "layer"] = "rms"
    pre_norm: bool = True
    bias: bool = False
    scaled: bool = False
    key_bias: bool = True

    def setup(self) -> None:
        """Create the parts; only a decoder has cross-attention."""
        fields = (self.heads, self.head_width, self.width, self.bias, self.scaled, self.key_bias)
        attention = Attention(*fields, parent=None)
        self.attention_norm = self._norm("attention_norm")
        self.attention = attention.clone()
        if self.decoder:
            self.source_norm = self._norm("source_norm")
            self.source_attention = attention.clone()
        self.feed_forward_norm = self._norm("feed_forward_norm")
        self.feed_forward = Inner(self.hidden, self.activation, self.hidden_dropout, self.bias)
        self.drop = Dropout(self.dropout)

    def __call__(
        self,
        x_BTD: jax.Array,
        mask_B1TS: jax.Array | None,
        bias_1NTS: jax.Array | None,
        source: tuple[Keys, jax.Array | None] | None,
        cache: Cache | None,
        layer: int,
        train: bool,
    ) -> tuple[jax.Array, Cache | None]:
        """Apply the layer; `source` is this layer's keys and values of the source, and their mask.

        Returns:
            x [B, T, D], and the cache with this layer's keys and values.
        """

        def to_itself(h_BTD: jax.Array) -> jax.Array:
            nonlocal cache
            keys = self.attention.keys(h_BTD)
            if cache is not None:
                cache = cache.write(layer, *keys)
                keys = (cache.keys[layer], cache.values[layer])
            return self.attention(h_BTD, keys, mask_B1TS, bias_1NTS, causal=self.decoder)

        def to_source(h_BTD: jax.Array) -> jax.Array:
            assert source is not None
            return self.source_attention(h_BTD, *source, None, causal=False)

        x_BTD = self._add(x_BTD, self.attention_norm, to_itself, train)
        if source is not None:
            x_BTD = self._add(x_BTD, self.source_norm, to_source, train)
        return self._add(x_BTD, self.feed_forward_norm, partial(self.feed_forward, train=train), train), cache

    def _add(self, x_BTD: jax.Array, norm: Module, branch: Callable[[jax.Array], jax.Array], train: bool) -> jax.Array:
        """Add a branch to the residual stream."""
        y_BTD = x_BTD + self.drop(branch(norm(x_BTD) if self.pre_norm else x_BTD), deterministic=not train)
        return y_BTD if self.pre_norm else norm(y_BTD)

    def _norm(self, name: str) -> LayerNorm | RMSNorm:
        return make_norm(self.norm, eps=self.eps, bias=True, name=name)


class Stack(Module):
    """The layers of the encoder or of the decoder.

    Attributes:
        layer: what each layer is a copy of.
        depth: number of layers.
        buckets: of the table of relative positions that all layers share (see `RelativePositions`); 0: no table.
        reach: of that table.
        final_dropout: apply dropout after the last norm too.
    """

    layer: Block
    depth: int
    buckets: int = 0
    reach: int = 0
    final_dropout: bool = True

    def setup(self) -> None:
        """Create positions, layers and, where the layers begin with a norm, the last one."""
        heads, std = self.layer.heads, self.layer.width**-0.5
        if self.buckets:
            self.positions = RelativePositions(heads, self.buckets, self.reach, not self.layer.decoder, std)
        self.block = [self.layer.clone() for _ in range(self.depth)]
        if self.layer.pre_norm:
            self.final_norm = make_norm(self.layer.norm, eps=self.layer.eps, bias=True, name="final_norm")
        self.drop = Dropout(self.layer.dropout)

    def __call__(
        self,
        x_BTD: jax.Array,
        mask_B1TS: jax.Array | None,
        source: EncodedSource | None = None,
        cache: Cache | None = None,
        *,
        train: bool = False,
    ) -> tuple[jax.Array, Cache | None]:
        """Return hidden vectors [B, T, D] after the last norm, and the cache with these tokens added."""
        length = x_BTD.shape[1]
        bias_1NTS = None
        if self.buckets:
            begin, slots = (0, length) if cache is None else (cache.filled, cache.slots)
            bias_1NTS = self.positions(begin + jnp.arange(length), jnp.arange(slots))
        x_BTD = self.drop(x_BTD, deterministic=not train)
        for layer, block in enumerate(self.block):
            own = None if source is None else (source.layers[layer], source.mask_B1TS)
            x_BTD, cache = block(x_BTD, mask_B1TS, bias_1NTS, own, cache, layer, train)
        x_BTD = self.final_norm(x_BTD) if self.layer.pre_norm else x_BTD
        if self.final_dropout:
            x_BTD = self.drop(x_BTD, deterministic=not train)
        return x_BTD, None if cache is None else cache._replace(filled=cache.filled + length)

    def read(self, memory_BSD: jax.Array, mask_B1TS: jax.Array | None) -> EncodedSource:
        """Compute the keys and values of an encoded text for the cross-attention of every layer."""
        return EncodedSource(tuple(block.source_attention.keys(memory_BSD) for block in self.block), mask_B1TS)
