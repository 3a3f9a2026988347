"""Normalisation of the last axis, statistics in float32.

B batch, T tokens, D width; leading axes are free.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module


class LayerNorm(Module):
    """Zero mean and unit variance over the last axis, then a learned scale and shift (Ba et al. 2016, equation 4).

    Takes x [..., D] of any floating dtype and returns the same shape and dtype.
    """

    eps: float = 1e-5
    bias: bool = True

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Normalise."""
        width = x_BTD.shape[-1]
        scale_D = self.param("scale", nn.initializers.ones, (width,))
        y_BTD = x_BTD.astype(jnp.float32)
        y_BTD = y_BTD - _mean(y_BTD)
        y_BTD = y_BTD * jax.lax.rsqrt(_mean(jnp.square(y_BTD)) + self.eps)
        y_BTD = y_BTD * _along_last_axis(scale_D, y_BTD.ndim)
        if self.bias:
            shift_D = self.param("bias", nn.initializers.zeros, (width,))
            y_BTD = y_BTD + _along_last_axis(shift_D, y_BTD.ndim)
        return y_BTD.astype(x_BTD.dtype)


class RMSNorm(Module):
    """Unit root mean square over the last axis, then a learned scale (Zhang & Sennrich 2019, equation 4).

    Takes x [..., D] of any floating dtype and returns the same shape and dtype.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Normalise."""
        scale_D = self.param("scale", nn.initializers.ones, (x_BTD.shape[-1],))
        y_BTD = x_BTD.astype(jnp.float32)
        y_BTD = y_BTD * jax.lax.rsqrt(_mean(jnp.square(y_BTD)) + self.eps)
        return (y_BTD * _along_last_axis(scale_D, y_BTD.ndim)).astype(x_BTD.dtype)


def make_norm(kind: Literal["layer", "rms"], *, eps: float, bias: bool, name: str) -> LayerNorm | RMSNorm:
    """The normalisation layer of that kind; RMSNorm has no shift, so `bias` does not touch it."""
    return LayerNorm(eps=eps, bias=bias, name=name) if kind == "layer" else RMSNorm(eps=eps, name=name)


def _mean(x_BTD: jax.Array) -> jax.Array:
    """Mean of the last axis, [..., 1]; on a CPU as a product, since XLA there recomputes a reduction in each consumer.

    Measured on two cores, forward and backward of a four-layer GPT of width 128: 14 % less time.
    """
    if jax.default_backend() != "cpu":
        return x_BTD.mean(-1, keepdims=True)
    width = x_BTD.shape[-1]
    return jnp.dot(x_BTD, jnp.full((width, 1), 1 / width, x_BTD.dtype))


def _along_last_axis(vector_D: jax.Array, ndim: int) -> jax.Array:
    return vector_D.astype(jnp.float32).reshape((1,) * (ndim - 1) + (-1,))
