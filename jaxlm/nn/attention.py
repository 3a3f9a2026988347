"""Multi-head and grouped-query attention, its masks and its cache.

B batch, T queries, S keys, N query heads, K key and value heads, H head width, D model width, L layers.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import dense, residual_std
from jaxlm.nn.module import Module
from jaxlm.nn.position import Rotation, rotate


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far, for all layers, and where they stand.

    Slots filled .. S-1 are free. Row b's tokens begin at slot start[b] (prompts are padded on the left), so a token's
    position is its slot minus start[b].
    """

    keys: jax.Array  # [L, B, S, K, H]
    values: jax.Array  # [L, B, S, K, H]
    filled: jax.Array  # int32 scalar: the number of slots in use
    start: jax.Array  # int32 [B]

    def positions(self, tokens: int) -> jax.Array:
        """Positions of the next `tokens` tokens, int32 [B, T]; 0 on the padding."""
        slots_T = self.filled + jnp.arange(tokens, dtype=jnp.int32)
        return jnp.maximum(slots_T[None] - self.start[:, None], 0)

    def mask(self, tokens: int, window: int | None = None) -> jax.Array:
        """Which slots the next `tokens` tokens may look at, bool [B, 1, T, S]: not the padding, not the future.

        With a window only the last `window` of these.
        """
        slots_S = jnp.arange(self.keys.shape[2], dtype=jnp.int32)
        past_TS = _within(self.filled + jnp.arange(tokens, dtype=jnp.int32), slots_S, window)
        real_BS = slots_S[None] >= self.start[:, None]
        return past_TS[None, None] & real_BS[:, None, None]

    def write(self, layer: int | jax.Array, key_BTKH: jax.Array, value_BTKH: jax.Array) -> "Cache":
        """The cache with one layer's next tokens filled in; `filled` moves only once all layers have written."""
        at = (layer, 0, self.filled, 0, 0)
        keys = jax.lax.dynamic_update_slice(self.keys, key_BTKH[None].astype(self.keys.dtype), at)
        values = jax.lax.dynamic_update_slice(self.values, value_BTKH[None].astype(self.values.dtype), at)
        return self._replace(keys=keys, values=values)


def window_mask(length: int, window: int) -> jax.Array:
    """Attention to a token itself and to the `window` - 1 before it: bool [1, 1, T, T] (Jiang et al. 2023, Mistral)."""
    index_T = jnp.arange(length, dtype=jnp.int32)
    return _within(index_T, index_T, window)[None, None]


def _within(query_T: jax.Array, key_S: jax.Array, window: int | None) -> jax.Array:
    """Whether a key is at a query's place or before it, and less than `window` before it: bool [T, S]."""
    distance_TS = query_T[:, None] - key_S[None]
    past_TS = distance_TS >= 0
    return past_TS if window is None else past_TS & (distance_TS < window)


def segment_mask(segments_BT: jax.Array, *, causal: bool = True) -> jax.Array:
    """Attention within equal segments, to earlier tokens or to all: bool [B, 1, T, T] from int32 segment numbers."""
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
    """softmax(Q K' / sqrt(H)) V per head, [B, T, N, H] (Vaswani et al. 2017, equation 1); softmax in float32.

    N must be a multiple of K; each key head serves N/K neighbouring query heads (Ainslie et al. 2023). Where
    `mask_B1TS` is None, attention is causal, or else to all keys; a mask must bring its own causality. `bias_1NTS` is
    added before the softmax, and `scale` takes the place of 1 / sqrt(H).
    """
    return jax.nn.dot_product_attention(
        query_BTNH,
        key_BSKH,
        value_BSKH,
        bias=bias_1NTS,
        mask=mask_B1TS,
        scale=scale,
        is_causal=causal and mask_B1TS is None,
        implementation="cudnn" if bias_1NTS is None and _cudnn_applies(query_BTNH, mask_B1TS) else "xla",
    )


class Attention(Module):
    """Self-attention: one fused projection to queries, keys and values, attention, one projection back.

    `kv_heads` equal to `heads` is multi-head attention, fewer is grouped-query, 1 is multi-query. The fused kernel
    [D, (N + 2K) H] holds the queries first, then keys, then values. `depth` is the model's number of layers. A token
    sees the earlier ones and itself, or all where `causal` is off; a mask replaces both. `qkv_bias` None is as `bias`;
    `head_width` None is D / N.
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
        """The attended [B, T, D], and the cache (which comes with its own mask) with the keys of layer `layer`."""
        batch, length, width = x_BTD.shape
        head_width, kv_heads = self.head_width or width // self.heads, self.kv_heads
        qkv_bias = self.bias if self.qkv_bias is None else self.qkv_bias
        qkv = dense((self.heads + 2 * kv_heads) * head_width, bias=qkv_bias, name="qkv")(x_BTD)
        qkv = qkv.reshape(batch, length, self.heads + 2 * kv_heads, head_width)
        query_BTNH, key_BTKH, value_BTKH = jnp.split(qkv, (self.heads, self.heads + kv_heads), axis=2)
        if rotation is not None:
            query_BTNH, key_BTKH = rotate(query_BTNH, rotation), rotate(key_BTKH, rotation)
        if cache is not None:
            cache = cache.write(layer, key_BTKH, value_BTKH)
            key_BTKH = cache.keys[layer].astype(query_BTNH.dtype)
            value_BTKH = cache.values[layer].astype(query_BTNH.dtype)
        y_BTNH = attend(query_BTNH, key_BTKH, value_BTKH, mask_B1TS, causal=self.causal)
        output = dense(width, bias=self.bias, std=residual_std(self.depth), name="output")
        return output(y_BTNH.reshape(batch, length, self.heads * head_width)), cache


def _cudnn_applies(query_BTNH: jax.Array, mask_B1TS: jax.Array | None) -> bool:
    """Whether cuDNN's fused kernel may run: NVIDIA GPU, half precision, a head width it knows, no mask."""
    head_width = query_BTNH.shape[-1]
    half = query_BTNH.dtype in (jnp.bfloat16, jnp.float16)
    return mask_B1TS is None and half and head_width % 8 == 0 and head_width <= 128 and jax.default_backend() == "gpu"
