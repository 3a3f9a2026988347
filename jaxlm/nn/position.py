"""Where a token stands: a learned vector, a rotation of its queries and keys, or a bias by distance.

B batch, T tokens, S keys, N heads, H head width, P half of the head width, D model width, C context.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.nn.embed import lookup
from jaxlm.nn.linear import KERNEL_STD
from jaxlm.nn.module import Module


class LearnedPositions(Module):
    """One learned vector a position (Gehring et al. 2017; GPT-2)."""

    context: int
    width: int

    @nn.compact
    def __call__(self, positions_BT: jax.Array | None, length: int) -> jax.Array:
        """The vectors of `positions_BT` (int32), [B, T, D]; of 0 .. length-1 where it is None, [1, T, D]."""
        table_CD = self.param("embedding", nn.initializers.normal(KERNEL_STD), (self.context, self.width))
        if positions_BT is None:
            return table_CD[None, :length]  # a slice: its backward is a pad, not a scatter
        return lookup(table_CD, positions_BT)


def positions_within(segments_BT: jax.Array) -> jax.Array:
    """Positions counted from the start of each run of equal segment numbers, int32 [B, T]."""
    index_BT = jnp.broadcast_to(jnp.arange(segments_BT.shape[1], dtype=jnp.int32)[None], segments_BT.shape)
    begins_BT = jnp.diff(segments_BT, axis=1, prepend=segments_BT[:, :1] - 1) != 0
    return index_BT - jax.lax.cummax(jnp.where(begins_BT, index_BT, 0), axis=1)


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, float32 [B or 1, T, P]."""

    cos_BTP: jax.Array
    sin_BTP: jax.Array


@dataclass(frozen=True)
class RotaryScaling:
    """Slower rotations for contexts longer than the one first trained on (Grattafiori et al. 2024, Llama 3).

    A frequency that turns less than `low` times within the `original` context is divided by `factor`, one that turns
    more than `high` times stays, and between them the two are mixed linearly in the number of turns.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __call__(self, frequency_P: jax.Array) -> jax.Array:
        """The scaled frequencies, radians a token."""
        turns_P = self.original * frequency_P / (2 * math.pi)
        kept_P = jnp.clip((turns_P - self.low) / (self.high - self.low), 0, 1)
        return kept_P * frequency_P + (1 - kept_P) * frequency_P / self.factor


def rotation(positions_BT: jax.Array, head_width: int, base: float, scaling: RotaryScaling | None = None) -> Rotation:
    """The angles position * base^(-2i/H), i < H/2 (Su et al. 2021, RoFormer, equation 15)."""
    frequency_P = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
    frequency_P = frequency_P if scaling is None else scaling(frequency_P)
    angle_BTP = positions_BT[..., None].astype(jnp.float32) * frequency_P[None, None]
    return Rotation(jnp.cos(angle_BTP), jnp.sin(angle_BTP))


def rotate(x_BTNH: jax.Array, by: Rotation) -> jax.Array:
    """Rotate each pair (x[i], x[i + H/2]) by its angle, in float32; same shape and dtype.

    Su et al. 2021, equation 34, with the pairs taken from the two halves of the head as in GPT-NeoX and Llama, rather
    than from neighbours: a fixed permutation of the head's coordinates.
    """
    cos_BT1P, sin_BT1P = by.cos_BTP[:, :, None], by.sin_BTP[:, :, None]
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    turned = (first * cos_BT1P - second * sin_BT1P, second * cos_BT1P + first * sin_BT1P)
    return jnp.concatenate(turned, axis=-1).astype(x_BTNH.dtype)


class RelativePositions(Module):
    """A learned bias on attention for each head and each bucket of distances (Raffel et al. 2020, section 2.1).

    A bucket is a distance while that is small, and a range of distances, wider the farther, up to `reach`: from there
    on all are alike. Where `bidirectional`, half of the buckets are for keys after the query; else those count as
    being at distance 0, and a causal mask has to hide them.
    """

    heads: int
    buckets: int
    reach: int
    bidirectional: bool
    std: float = KERNEL_STD

    @nn.compact
    def __call__(self, query_T: jax.Array, key_S: jax.Array) -> jax.Array:
        """The biases [1, N, T, S] of queries and keys at these positions, int32."""
        table = self.param("embedding", nn.initializers.normal(self.std), (self.buckets, self.heads))
        sides = 2 if self.bidirectional else 1
        buckets = jnp.asarray(distance_buckets(self.buckets // sides, self.reach))
        ahead_TS = key_S[None] - query_T[:, None]
        behind_TS = jnp.abs(ahead_TS) if self.bidirectional else jnp.maximum(-ahead_TS, 0)
        bucket_TS = buckets[jnp.minimum(behind_TS, self.reach)]
        if self.bidirectional:
            bucket_TS = bucket_TS + jnp.where(ahead_TS > 0, self.buckets // 2, 0)
        return lookup(table, bucket_TS).transpose(2, 0, 1)[None]


def distance_buckets(buckets: int, reach: int) -> np.ndarray:
    """The bucket of each distance 0 .. reach, int32 [reach + 1].

    Half of the buckets hold one distance each, the others grow as powers of the distance. On the host in float64,
    because a logarithm in float32 may fall to either side where a range begins, and differs by device.
    """
    exact = buckets // 2
    distance = np.arange(reach + 1)
    power = np.log(np.maximum(distance, exact) / exact) / math.log(reach / exact)
    far = exact + np.floor(power * (buckets - exact) + 1e-9)
    return np.where(distance < exact, distance, np.minimum(far, buckets - 1)).astype(np.int32)
