"""What a model of pictures is conditioned on: a point in time and a caption, as one vector.

B batch, L tokens, E width of the text encoder, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import Dense, broadcast, wide
from jaxlm.nn.module import Module
from jaxlm.nn.position import sinusoids

TIME_SCALE = 1000.0  # times from 0 to 1 are sinusoidal positions from 0 to this


class CaptionVector(Module):
    """The mean of a caption's token vectors, through an affine map; of a caption without tokens a learned vector.

    The learned vector is the null condition of guidance (Ho & Salimans 2022, arXiv:2207.12598, section 3.2).

    Attributes:
        width: D.
    """

    width: int

    @nn.compact
    def __call__(self, x_BLE: jax.Array, segments_BL: jax.Array) -> jax.Array:
        """Return the vectors of captions, [B, D].

        Args:
            x_BLE: the vectors of their tokens.
            segments_BL: int32, 1 on tokens and 0 on padding.
        """
        real_BL1 = (segments_BL > 0)[..., None]
        total_BE = jnp.where(real_BL1, wide(x_BLE), 0).sum(1)
        mean_BE = total_BE / jnp.maximum(real_BL1.sum(1), 1)
        caption_BD = Dense(self.width, name="caption")(mean_BE.astype(x_BLE.dtype))
        null_D = self.param("null", nn.initializers.normal(1.0), (self.width,), jnp.float32)
        null_BD = broadcast(null_D.astype(caption_BD.dtype), caption_BD.shape)
        return jnp.where(real_BL1.any(1), caption_BD, null_BD)


class AtTime(Module):
    """A condition at a point in time: silu of a vector of the time plus the condition.

    Attributes:
        width: D, even.
    """

    width: int

    @nn.compact
    def __call__(self, times_B: jax.Array, condition_BD: jax.Array) -> jax.Array:
        """Return the condition at times from 0 to 1, [B, D]."""
        x_BD = sinusoids(times_B * TIME_SCALE, self.width).astype(condition_BD.dtype)
        x_BD = Dense(self.width, name="out")(jax.nn.silu(Dense(self.width, name="into")(x_BD)))
        return jax.nn.silu(x_BD + condition_BD)
