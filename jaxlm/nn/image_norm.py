"""Batch normalisation and group normalisation of images.

B batch, H height, W width, C channels, N all pixels of a batch, G groups.
"""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module


class ImageNorm(Module):
    """Batch or group normalisation of x [B, H, W, C], then a learned scale and shift; statistics in float32.

    "batch" normalises each channel over the batch and all pixels (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm
    1). Evaluation uses the running mean and variance of the collection "batch_stats", which training updates to
    `momentum old + (1 - momentum) new`, with the biased variance. On a mesh the statistics cover the whole batch; under
    `pmap` they do with `axis_name`, and otherwise they are each device's own.

    "group" normalises groups of channels within an image (Wu and He 2018, arXiv:1803.08494). There are at most 32
    groups of equal size: half the greatest common divisor of 64 and C, so that a group has at least two channels, and
    one group where C is odd. It has no state, and no example depends on another.

    Attributes:
        kind: "batch" or "group".
        axis_name: name of the axis of devices under `pmap`.
        zero: start with a scale of zero.
        momentum: decay of the running statistics.
        eps: added to the variance.
    """

    kind: Literal["batch", "group"] = "batch"
    axis_name: str | None = None
    zero: bool = False  # start with a scale of zero
    momentum: float = 0.9
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Normalise; the dtype of x is kept."""
        width = x_BHWC.shape[-1]
        scale_C = self.param(
            "scale", nn.initializers.zeros if self.zero else nn.initializers.ones, (width,), jnp.float32
        )
        shift_C = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        x_NC = x_BHWC.astype(jnp.float32).reshape(-1, width)
        if self.kind == "group":
            x_NC = _within_groups(x_BHWC.astype(jnp.float32), max(1, math.gcd(64, width) // 2), self.eps).reshape(
                -1, width
            )
            y_NC = x_NC * scale_C.astype(jnp.float32)[None] + shift_C.astype(jnp.float32)[None]
        else:
            mean_1C, variance_1C = self._statistics(x_NC, train)
            factor_1C = jax.lax.rsqrt(variance_1C + self.eps) * scale_C.astype(jnp.float32)[None]
            y_NC = (x_NC - mean_1C) * factor_1C + shift_C.astype(jnp.float32)[None]
        return y_NC.reshape(x_BHWC.shape).astype(x_BHWC.dtype)

    def _statistics(self, x_NC: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Return mean and variance of each channel, [1, C]: of this batch in training, else the running ones."""
        width = x_NC.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (width,), jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, (width,), jnp.float32)
        if not train:
            return mean.value[None], variance.value[None]
        axis = None if self.is_initializing() else self.axis_name
        mean_1C = _mean(x_NC, axis)
        variance_1C = _mean(jnp.square(x_NC - mean_1C), axis)
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * mean_1C[0]
            variance.value = self.momentum * variance.value + (1 - self.momentum) * variance_1C[0]
        return mean_1C, variance_1C


def _mean(x_NC: jax.Array, axis: str | None) -> jax.Array:
    """Average over N, and over the devices of an axis, [1, C]."""
    mean_1C = x_NC.mean(0, keepdims=True)
    return mean_1C if axis is None else jax.lax.pmean(mean_1C, axis)


def _within_groups(x_BHWC: jax.Array, groups: int, eps: float) -> jax.Array:
    """Normalise to zero mean and unit variance over the pixels and channels of each group of an image."""
    x_BPGE = x_BHWC.reshape(x_BHWC.shape[0], -1, groups, x_BHWC.shape[-1] // groups)
    x_BPGE = x_BPGE - x_BPGE.mean((1, 3), keepdims=True)
    x_BPGE = x_BPGE * jax.lax.rsqrt(jnp.square(x_BPGE).mean((1, 3), keepdims=True) + eps)
    return x_BPGE.reshape(x_BHWC.shape)
