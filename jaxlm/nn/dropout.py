"""Dropout whose rate may be an array of the training state."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlm.nn.module import Module


class Dropout(Module):
    """Dropout: zero each entry with probability `rate` in training, and divide the others by 1 - rate.

    Needs an rng named "dropout". Srivastava et al. 2014.

    Attributes:
        rate: probability of dropping an entry, at least 0 and below 1. An array may be traced (see
            `transforms.inject`); a plain 0 compiles to nothing.
        deterministic: True turns dropout off; may be given in the call instead.
    """

    rate: float | jax.Array
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """Apply dropout to a floating-point array; shape and dtype are kept."""
        if nn.merge_param("deterministic", self.deterministic, deterministic) or self._is_off:
            return x
        kept = 1 - jnp.asarray(self.rate, jnp.float32)
        mask = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
        return jnp.where(mask, x / kept.astype(x.dtype), 0)

    @property
    def _is_off(self) -> bool:
        return not isinstance(self.rate, jax.Array) and self.rate == 0
