"""Standardise inputs whose distribution moves, by the mean and variance of all that were seen so far.

Observations of an agent are such inputs. The moments are counted by the experiment, once an update, and not by the
layer: what an agent did and what is learned from it are then seen through the same moments.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module

Moments = dict[str, jax.Array]  # "count" float32 scalar, "mean" and "variance" float32 of the shape of one input
MOMENTS = "moments"  # the collection of `RunningNorm`


def no_moments(shape: tuple[int, ...]) -> Moments:
    """Return the moments before anything was seen, mean 0 and variance 1."""
    return {"count": jnp.zeros(()), "mean": jnp.zeros(shape), "variance": jnp.ones(shape)}


def add_to_moments(moments: Moments, x: jax.Array, total: Callable[[Any], Any]) -> Moments:
    """Return the moments after further inputs were seen (Chan et al. 1979, equation 2.1).

    Law: those of all inputs together, however they were divided into calls.

    Args:
        moments: those before.
        x: inputs [..., *shape].
        total: adds over devices, such as `place.sum`.
    """
    axes = tuple(range(x.ndim - moments["mean"].ndim))
    size = jnp.float32(x.size / moments["mean"].size)
    count, summed = total((size, x.sum(axes)))
    mean = summed / count
    spread = total(jnp.square(x - jnp.broadcast_to(mean, x.shape)).sum(axes))
    before, both, step = moments["count"], moments["count"] + count, mean - moments["mean"]
    squares = jnp.where(before > 0, moments["variance"], 0) * before + spread + step**2 * before * count / both
    return {"count": both, "mean": moments["mean"] + step * count / both, "variance": squares / both}


class RunningNorm(Module):
    """Standardise inputs [B, *shape] by running moments, and clip them; the first ones pass as they are.

    Attributes:
        limit: of the standardised values, in standard deviations.
    """

    limit: float = 10.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return (x - mean) / std, clipped."""
        moments = {
            name: self.variable(MOMENTS, name, lambda value=value: value).value
            for name, value in no_moments(x.shape[1:]).items()
        }
        mean, scale = moments["mean"], jax.lax.rsqrt(moments["variance"] + 1e-8)
        scaled = (x - jnp.broadcast_to(mean, x.shape)) * jnp.broadcast_to(scale, x.shape)
        return jnp.clip(scaled, -self.limit, self.limit)
