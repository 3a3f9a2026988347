"""Layer normalisation and RMS normalisation of the last axis, with statistics in float32.

B batch, T tokens, D width; leading axes are free.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module


class LayerNorm(Module):
    """Layer normalisation: zero mean and unit variance, then a learned scale and shift (Ba et al. 2016, equation 4).

    Takes x [..., D] of any floating dtype and returns the same shape and dtype.
    """

    eps: float = 1e-5
    bias: bool = True

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Normalise the last axis."""
        width = x_BTD.shape[-1]
        scale_D = self.param("scale", nn.initializers.ones, (width,), jnp.float32)
        y_BTD = x_BTD.astype(jnp.float32)
        y_BTD = y_BTD - _mean(y_BTD)
        y_BTD = y_BTD * jax.lax.rsqrt(_mean(jnp.square(y_BTD)) + self.eps)
        y_BTD = y_BTD * _along_last_axis(scale_D, y_BTD.ndim)
        if self.bias:
            shift_D = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
            y_BTD = y_BTD + _along_last_axis(shift_D, y_BTD.ndim)
        return y_BTD.astype(x_BTD.dtype)


class RMSNorm(Module):
    """RMS normalisation: unit root mean square over the last axis, then a scale (Zhang & Sennrich 2019, equation 4).

    Takes x [..., D] of any floating dtype and returns the same shape and dtype.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Normalise the last axis."""
        scale_D = self.param("scale", nn.initializers.ones, (x_BTD.shape[-1],), jnp.float32)
        y_BTD = x_BTD.astype(jnp.float32)
        y_BTD = y_BTD * jax.lax.rsqrt(_mean(jnp.square(y_BTD)) + self.eps)
        return (y_BTD * _along_last_axis(scale_D, y_BTD.ndim)).astype(x_BTD.dtype)


def make_norm(kind: Literal["layer", "rms"], *, eps: float, bias: bool, name: str) -> LayerNorm | RMSNorm:
    """Return a `LayerNorm` or an `RMSNorm`; the latter has no shift and ignores `bias`."""
    return LayerNorm(eps=eps, bias=bias, name=name) if kind == "layer" else RMSNorm(eps=eps, name=name)


def _mean(x_BTD: jax.Array) -> jax.Array:
    """Average over the last axis, [..., 1]; on a CPU as a matrix product.

    XLA's CPU backend recomputes a reduction in each consumer. Measured on two cores, forward and backward of a
    four-layer GPT of width 128: 14 % less time.
    """
    if jax.default_backend() != "cpu":
        return x_BTD.mean(-1, keepdims=True)
    width = x_BTD.shape[-1]
    return jnp.dot(x_BTD, jnp.full((width, 1), 1 / width, x_BTD.dtype))


def _along_last_axis(vector_D: jax.Array, ndim: int) -> jax.Array:
    return vector_D.astype(jnp.float32).reshape((1,) * (ndim - 1) + (-1,))
