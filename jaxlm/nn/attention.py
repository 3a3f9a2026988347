"""Multi-head and grouped-query attention, attention masks and the key-value cache.

B batch, T queries, S keys, N query heads, K key and value heads, H head width, D model width, L layers.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import dense, residual_std
from jaxlm.nn.module import Module
from jaxlm.nn.position import Rotation, apply_rotary

MASKED = -1e30  # the score of a key that is not attended to: finite, so that a query without any has no NaN


class Cache(NamedTuple):
    """The keys and values of all earlier tokens, for all layers of a decoder.

    Row b's tokens begin at slot start[b], because prompts are padded on the left. A token's position is its slot minus
    start[b].

    Attributes:
        keys: [L, B, K, S, H], as `attend_by_head` reads them; slots from `filled` on are free.
        values: [L, B, K, S, H].
        filled: int32 scalar, the number of slots in use.
        start: int32 [B], the number of padding slots of each row.
    """

    keys: jax.Array  # [L, B, K, S, H]
    values: jax.Array  # [L, B, K, S, H]
    filled: jax.Array  # int32 scalar: the number of slots in use
    start: jax.Array  # int32 [B]

    @property
    def slots(self) -> int:
        """The number of slots of a row, S."""
        return self.keys.shape[-2]

    def positions(self, tokens: int) -> jax.Array:
        """Return the positions of the next `tokens` tokens, int32 [B, T]; 0 on the padding."""
        slots_T = self.filled + jnp.arange(tokens, dtype=jnp.int32)
        return jnp.maximum(slots_T[None] - self.start[:, None], 0)

    def mask(self, tokens: int, window: int | None = None) -> jax.Array:
        """Return the attention mask of the next `tokens` tokens, bool [B, 1, T, S].

        A token attends to itself and to earlier tokens, not to padding; with a `window`, only to the last `window` of
        these.
        """
        slots_S = jnp.arange(self.slots, dtype=jnp.int32)
        past_TS = _within(self.filled + jnp.arange(tokens, dtype=jnp.int32), slots_S, window)
        real_BS = slots_S[None] >= self.start[:, None]
        return past_TS[None, None] & real_BS[:, None, None]

    def write(self, layer: int | jax.Array, key_BKTH: jax.Array, value_BKTH: jax.Array) -> "Cache":
        """Return the cache with the next tokens' keys and values of one layer.

        `filled` does not change here: it moves once, after all layers have written.
        """
        at = [jnp.asarray(index, jnp.int32) for index in (layer, 0, 0, self.filled, 0)]  # of one type with 64 bits too
        keys = jax.lax.dynamic_update_slice(self.keys, key_BKTH[None].astype(self.keys.dtype), at)
        values = jax.lax.dynamic_update_slice(self.values, value_BKTH[None].astype(self.values.dtype), at)
        return self._replace(keys=keys, values=values)


def window_mask(length: int, window: int) -> jax.Array:
    """Return the mask of sliding-window attention, bool [1, 1, T, T] (Jiang et al. 2023, Mistral).

    A token attends to itself and to the `window` - 1 tokens before it.
    """
    index_T = jnp.arange(length, dtype=jnp.int32)
    return _within(index_T, index_T, window)[None, None]


def _within(query_T: jax.Array, key_S: jax.Array, window: int | None) -> jax.Array:
    """Return whether a key is at a query's place or less than `window` before it, bool [T, S]."""
    distance_TS = query_T[:, None] - key_S[None]
    past_TS = distance_TS >= 0
    return past_TS if window is None else past_TS & (distance_TS < window)


def segment_mask(segments_BT: jax.Array, *, causal: bool = True) -> jax.Array:
    """Return the mask of attention within segments of a packed row, bool [B, 1, T, T].

    Args:
        segments_BT: int32 segment numbers; a token attends to tokens of the same number.
        causal: only to earlier ones and itself.
    """
    same_B1TT = (segments_BT[:, :, None] == segments_BT[:, None, :])[:, None]
    return jnp.tril(same_B1TT) if causal else same_B1TT


def attend(
    query_BTNH: jax.Array,
    key_BSKH: jax.Array,
    value_BSKH: jax.Array,
    mask_B1TS: jax.Array | None = None,
    *,
    causal: bool = True,
    bias_1NTS: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Compute scaled dot-product attention, softmax(Q K' / sqrt(H)) V for each head (Vaswani et al. 2017, equation 1).

    The softmax is computed in float32. On NVIDIA GPUs, cuDNN's fused kernel is used where it applies.

    Args:
        query_BTNH: N must be a multiple of K; each key head serves N/K neighbouring query heads (Ainslie et al. 2023).
        key_BSKH: the keys.
        value_BSKH: the values.
        mask_B1TS: bool, True where a query may attend to a key. It replaces `causal`.
        causal: without a mask, attend only to earlier keys and the query's own.
        bias_1NTS: added to the scores before the softmax.
        scale: replaces 1 / sqrt(H).

    Returns:
        [B, T, N, H].
    """
    if bias_1NTS is None and _cudnn_applies(query_BTNH, mask_B1TS):
        return jax.nn.dot_product_attention(
            query_BTNH, key_BSKH, value_BSKH, scale=scale, is_causal=causal, implementation="cudnn"
        )
    by_head = key_BSKH.swapaxes(1, 2), value_BSKH.swapaxes(1, 2)
    return attend_by_head(query_BTNH, *by_head, mask_B1TS, causal=causal, bias_1NTS=bias_1NTS, scale=scale)


def attend_by_head(
    query_BTNH: jax.Array,
    key_BKSH: jax.Array,
    value_BKSH: jax.Array,
    mask_B1TS: jax.Array | None = None,
    *,
    causal: bool = True,
    bias_1NTS: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Compute the attention of `attend` to keys and values whose heads come before their places, as a cache has them.

    Keys are read as they are in memory, which is most of the work for a single query: on a CPU that took a third to a
    sixth of the time of a cache whose heads come after its places (scripts/bench_layers.py).

    Args:
        query_BTNH: see `attend`.
        key_BKSH: the keys.
        value_BKSH: the values.
        mask_B1TS: see `attend`.
        causal: see `attend`.
        bias_1NTS: see `attend`.
        scale: see `attend`.

    Returns:
        [B, T, N, H].
    """
    batch, tokens, heads, width = query_BTNH.shape
    kv_heads, places = key_BKSH.shape[1:3]
    rows = (batch, kv_heads, heads // kv_heads * tokens)  # the query heads of a key head are as more tokens to it
    query_BKRH = query_BTNH.swapaxes(1, 2).reshape(*rows, width)
    precise = jnp.promote_types(query_BTNH.dtype, jnp.float32)
    scores_BKRS = jnp.einsum("bkrh,bksh->bkrs", query_BKRH, key_BKSH, preferred_element_type=precise)
    scores_BNTS = scores_BKRS.reshape(batch, heads, tokens, places) * (width**-0.5 if scale is None else scale)
    if bias_1NTS is not None:
        scores_BNTS = scores_BNTS + bias_1NTS
    if mask_B1TS is None and causal:
        mask_B1TS = jnp.tril(jnp.ones((1, 1, tokens, places), bool))
    if mask_B1TS is not None:
        scores_BNTS = jnp.where(mask_B1TS, scores_BNTS, MASKED)
    share_BKRS = jax.nn.softmax(scores_BNTS).astype(value_BKSH.dtype).reshape(*rows, places)
    mixed_BNTH = jnp.einsum("bkrs,bksh->bkrh", share_BKRS, value_BKSH).reshape(batch, heads, tokens, width)
    return mixed_BNTH.swapaxes(1, 2)


class Attention(Module):
    """Multi-head self-attention with a fused projection to queries, keys and values.

    The fused kernel [D, (N + 2K) H] holds the queries first, then the keys, then the values.

    Attributes:
        heads: number of query heads.
        kv_heads: key and value heads: `heads` is multi-head attention, fewer is grouped-query, 1 is multi-query
            attention.
        depth: number of layers of the model, for the initialisation of the output kernel.
        bias: add a bias in the projections.
        causal: attend to earlier tokens only; a mask given in the call replaces this.
        qkv_bias: the bias of the fused projection; None: as `bias`.
        head_width: width of a head; None: D / N.
    """

    heads: int
    kv_heads: int
    depth: int
    bias: bool = True
    causal: bool = True
    qkv_bias: bool | None = None
    head_width: int | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        *,
        mask_B1TS: jax.Array | None = None,
        rotation: Rotation | None = None,
        cache: Cache | None = None,
        layer: int | jax.Array = 0,
    ) -> tuple[jax.Array, Cache | None]:
        """Apply self-attention.

        Args:
            x_BTD: the input.
            mask_B1TS: bool attention mask; it replaces `causal`. A cache needs one (`Cache.mask`).
            rotation: rotary angles of the tokens.
            cache: keys and values of earlier tokens.
            layer: the number of this layer in the cache.

        Returns:
            The output [B, T, D], and the cache with this layer's keys and values written.
        """
        batch, length, width = x_BTD.shape
        head_width, kv_heads = self.head_width or width // self.heads, self.kv_heads
        qkv_bias = self.bias if self.qkv_bias is None else self.qkv_bias
        qkv = dense((self.heads + 2 * kv_heads) * head_width, bias=qkv_bias, name="qkv")(x_BTD)
        qkv = qkv.reshape(batch, length, self.heads + 2 * kv_heads, head_width)
        query_BTNH, key_BTKH, value_BTKH = jnp.split(qkv, (self.heads, self.heads + kv_heads), axis=2)
        if rotation is not None:
            query_BTNH, key_BTKH = apply_rotary(query_BTNH, rotation), apply_rotary(key_BTKH, rotation)
        if cache is not None:
            cache = cache.write(layer, key_BTKH.swapaxes(1, 2), value_BTKH.swapaxes(1, 2))
            key_BKSH, value_BKSH = (x_LBKSH[layer].astype(query_BTNH.dtype) for x_LBKSH in (cache.keys, cache.values))
            y_BTNH = attend_by_head(query_BTNH, key_BKSH, value_BKSH, mask_B1TS)
        else:
            y_BTNH = attend(query_BTNH, key_BTKH, value_BTKH, mask_B1TS, causal=self.causal)
        output = dense(width, bias=self.bias, std=residual_std(self.depth), name="output")
        return output(y_BTNH.reshape(batch, length, self.heads * head_width)), cache


def _cudnn_applies(query_BTNH: jax.Array, mask_B1TS: jax.Array | None) -> bool:
    """Return whether cuDNN's fused kernel can run: NVIDIA GPU, half precision, a supported head width, no mask."""
    head_width = query_BTNH.shape[-1]
    half = query_BTNH.dtype in (jnp.bfloat16, jnp.float16)
    return mask_B1TS is None and half and head_width % 8 == 0 and head_width <= 128 and jax.default_backend() == "gpu"
