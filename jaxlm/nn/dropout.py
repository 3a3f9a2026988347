"""Dropout whose rate may be a value of the state."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlm.errors import BadInput
from jaxlm.nn.module import Module


class Dropout(Module):
    """Zero each entry with a probability, and divide the others by what is left of 1, in training.

    rate: of entries that are dropped, at least 0 and below 1; an array may be traced (see `transforms.inject`), and a
    plain 0 is no dropout at all. Needs an rng named "dropout". Srivastava et al. 2014.
    """

    rate: float | jax.Array
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """Any floating array, of the same shape and dtype."""
        if nn.merge_param("deterministic", self.deterministic, deterministic) or self._is_off:
            return x
        kept = 1 - jnp.asarray(self.rate, jnp.float32)
        mask = jax.random.bernoulli(self.make_rng("dropout"), kept, x.shape)
        return jnp.where(mask, x / kept.astype(x.dtype), 0)

    @property
    def _is_off(self) -> bool:
        return not isinstance(self.rate, jax.Array) and self.rate == 0


def check_rate(rate: float | jax.Array) -> None:
    """Raise BadInput for a rate of dropout that is none; a traced one cannot be looked at."""
    if not isinstance(rate, jax.Array) and not 0 <= rate < 1:
        raise BadInput(f"model.dropout is {rate}: it must be at least 0 and less than 1")
