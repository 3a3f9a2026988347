"""Position encodings: learned vectors, rotary angles (RoPE), and relative attention biases.

B batch, T tokens, S keys, N heads, H head width, P half of the head width, D model width, C context.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.nn.embed import lookup
from jaxlm.nn.linear import KERNEL_STD, wide
from jaxlm.nn.module import Module


class LearnedPositions(Module):
    """Learned absolute position embeddings: one vector for each position (Gehring et al. 2017; GPT-2).

    Attributes:
        context: number of positions C.
        width: width of the vectors D.
    """

    context: int
    width: int

    @nn.compact
    def __call__(self, positions_BT: jax.Array | None, length: int) -> jax.Array:
        """Return the vectors of positions.

        Args:
            positions_BT: int32, or None for 0 .. length-1.
            length: T.

        Returns:
            [B, T, D], or [1, T, D] where `positions_BT` is None.
        """
        table_CD = self.param("embedding", nn.initializers.normal(KERNEL_STD), (self.context, self.width), jnp.float32)
        if positions_BT is None:
            return table_CD[None, :length]  # a slice: its backward is a pad, not a scatter
        return lookup(table_CD, positions_BT)


def sinusoids(positions_T: jax.Array, width: int) -> jax.Array:
    """Return sinusoidal positions, float32 [T, D] (Vaswani et al. 2017, section 3.5).

    The first half of a vector has the sines of position / 10000^(i / (D/2 - 1)) and the second half the cosines, as in
    tensor2tensor and fairseq; the paper's text interleaves them, a fixed permutation.
    """
    half = width // 2
    rate_H = 10000.0 ** (-jnp.arange(half, dtype=jnp.float32) / max(half - 1, 1))
    angle_TH = positions_T[:, None].astype(jnp.float32) * rate_H[None]
    return jnp.concatenate([jnp.sin(angle_TH), jnp.cos(angle_TH)], axis=-1)


def positions_within(segments_BT: jax.Array) -> jax.Array:
    """Return positions counted from the start of each run of equal segment numbers, int32 [B, T]."""
    index_BT = jnp.broadcast_to(jnp.arange(segments_BT.shape[1], dtype=jnp.int32)[None], segments_BT.shape)
    begins_BT = jnp.diff(segments_BT, axis=1, prepend=segments_BT[:, :1] - 1) != 0
    begin_BT = jax.lax.cummax(jnp.where(begins_BT, index_BT, 0).astype(jnp.float32), axis=1)  # ONNX has no integer one
    return index_BT - begin_BT.astype(index_BT.dtype)


class Rotation(NamedTuple):
    """Cosines and sines of rotary angles, float32 [B or 1, T, P]."""

    cos_BTP: jax.Array
    sin_BTP: jax.Array


@dataclass(frozen=True)
class RotaryScaling:
    """Frequency scaling of rotary positions for longer contexts (Grattafiori et al. 2024, Llama 3).

    A frequency that turns less than `low` times within the `original` context is divided by `factor`. One that turns
    more than `high` times is kept. Between them the two are mixed linearly in the number of turns.

    Attributes:
        factor: divisor of slow frequencies.
        low: turns below which a frequency is divided.
        high: turns above which a frequency is kept.
        original: length of the original context, in tokens.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self) -> None:
        """Check the numbers; raises BadInput."""
        if not (0 < self.factor < math.inf and 0 < self.low < self.high < math.inf and self.original >= 1):
            raise BadInput(
                f"{self} cannot be: give a factor above 0, low below high, and an original context of tokens"
            )

    def __call__(self, frequency_P: jax.Array) -> jax.Array:
        """Return the scaled frequencies, in radians per token."""
        turns_P = self.original * frequency_P / (2 * math.pi)
        kept_P = jnp.clip((turns_P - self.low) / (self.high - self.low), 0, 1)
        return kept_P * frequency_P + (1 - kept_P) * frequency_P / self.factor


def rotary_angles(
    positions_BT: jax.Array, head_width: int, base: float, scaling: RotaryScaling | None = None
) -> Rotation:
    """Compute the rotary angles position * base^(-2i/H), i < H/2 (Su et al. 2021, RoFormer, equation 15)."""
    frequency_P = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    frequency_P = frequency_P if scaling is None else scaling(frequency_P)
    angle_BTP = positions_BT[..., None].astype(jnp.float32) * frequency_P[None, None]
    return Rotation(jnp.cos(angle_BTP), jnp.sin(angle_BTP))


def apply_rotary(x_BTNH: jax.Array, by: Rotation) -> jax.Array:
    """Apply rotary positions: rotate each pair (x[i], x[i + H/2]) by its angle, in float32; shape and dtype are kept.

    Su et al. 2021, equation 34. The pairs are taken from the two halves of the head as in GPT-NeoX and Llama, not from
    neighbours: a fixed permutation of the head's coordinates.
    """
    cos_BT1P, sin_BT1P = by.cos_BTP[:, :, None], by.sin_BTP[:, :, None]
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    turned = (first * cos_BT1P - second * sin_BT1P, second * cos_BT1P + first * sin_BT1P)
    return jnp.concatenate(turned, axis=-1).astype(x_BTNH.dtype)


class RelativePositions(Module):
    """Relative position bias: a learned bias for each head and bucket of distances (Raffel et al. 2020, section 2.1).

    Small distances have a bucket each. Larger ones share buckets whose ranges grow with the distance, up to `reach`;
    all larger distances share the last one.

    Attributes:
        heads: number of attention heads.
        buckets: number of buckets.
        reach: distance from which on all distances share one bucket.
        bidirectional: use half of the buckets for keys after the query. Otherwise such keys count as distance 0, and a
            causal mask has to hide them.
        std: standard deviation of the initial biases.
    """

    heads: int
    buckets: int
    reach: int
    bidirectional: bool
    std: float = KERNEL_STD

    @nn.compact
    def __call__(self, query_T: jax.Array, key_S: jax.Array) -> jax.Array:
        """Return the biases float32 [1, N, T, S], to which all layers add gradients; positions are int32."""
        table = self.param("embedding", nn.initializers.normal(self.std), (self.buckets, self.heads), jnp.float32)
        sides = 2 if self.bidirectional else 1
        buckets = jnp.asarray(distance_buckets(self.buckets // sides, self.reach))
        ahead_TS = key_S[None] - query_T[:, None]
        behind_TS = jnp.abs(ahead_TS) if self.bidirectional else jnp.maximum(-ahead_TS, 0)
        bucket_TS = buckets[jnp.minimum(behind_TS, self.reach)]
        if self.bidirectional:
            bucket_TS = bucket_TS + jnp.where(ahead_TS > 0, self.buckets // 2, 0)
        return lookup(wide(table), bucket_TS).transpose(2, 0, 1)[None]


def distance_buckets(buckets: int, reach: int) -> np.ndarray:
    """Return the bucket of each distance 0 .. reach, int32 [reach + 1].

    Half of the buckets have one distance each; the ranges of the others grow as powers of the distance. Computed on the
    host in float64: a logarithm in float32 may fall to either side of a range's start, and differs by device.
    """
    exact = buckets // 2
    distance = np.arange(reach + 1)
    power = np.log(np.maximum(distance, exact) / exact) / math.log(reach / exact)
    far = exact + np.floor(power * (buckets - exact) + 1e-9)
    return np.where(distance < exact, distance, np.minimum(far, buckets - 1)).astype(np.int32)
