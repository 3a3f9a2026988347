"""Where a token stands: a learned vector added to it, or a rotation of its queries and keys.

B batch, T tokens, N heads, H head width, P half of the head width, D model width, C context.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

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


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, float32 [B or 1, T, P]."""

    cos_BTP: jax.Array
    sin_BTP: jax.Array


def rotation(positions_BT: jax.Array, head_width: int, base: float) -> Rotation:
    """The angles position * base^(-2i/H), i < H/2 (Su et al. 2021, RoFormer, equation 15)."""
    frequency_P = base ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
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
