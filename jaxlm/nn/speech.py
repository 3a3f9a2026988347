"""Layers of speech encoders that never see their padding.

B batch, F frames, M mel bands, T outputs of the front end, D width.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.conv import Conv
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Module


def within(lengths_B: jax.Array, count: int) -> jax.Array:
    """Return which of `count` places are within a length, bool [B, count]."""
    return jnp.arange(count)[None] < lengths_B[:, None]


def halved(lengths: Any) -> Any:
    """Return the length after a stride of 2: half of it, rounded up."""
    return (lengths + 1) // 2


class SpeechFrontEnd(Module):
    """Two convolutions of 3 x 3 with stride 2 over time and frequency, then an affine map: four frames become one.

    Gulati et al. 2020, section 2 (their "convolution subsampling").

    Attributes:
        channels: of the convolutions.
        width: D.
    """

    channels: int
    width: int

    @nn.compact
    def __call__(self, features_BFM: jax.Array, frames_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return vectors [B, T, D] and their numbers, int32 [B]; T and these are a quarter, rounded up.

        Law: the vectors of a row's own frames do not depend on what follows them, and all others are 0 before the map.
        """
        x_BFMC = features_BFM[..., None]
        for number in range(2):
            x_BFMC = jnp.where(within(frames_B, x_BFMC.shape[1])[:, :, None, None], x_BFMC, 0)
            x_BFMC = jax.nn.relu(Conv(self.channels, stride=2, bias=True, name=f"conv_{number}")(x_BFMC))
            frames_B = halved(frames_B)
        x_BTD = x_BFMC.reshape(*x_BFMC.shape[:2], -1)
        x_BTD = jnp.where(within(frames_B, x_BTD.shape[1])[..., None], x_BTD, 0)
        return Dense(self.width, name="map")(x_BTD), frames_B


class TimeConv(Module):
    """Convolution over time of each channel on its own (depthwise), [B, T, D] to the same shape.

    A sum of shifted products, which is fused into one loop. On a CPU, XLA's grouped convolution took 280 times as long
    forwards and 8 times as long with its gradient (64 x 64 x 128, kernel 7, two cores).

    Attributes:
        kernel: places, odd; half of them before and half after.
    """

    kernel: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """Apply the convolution; what is beyond both ends is 0."""
        width, half = x_BTD.shape[-1], self.kernel // 2
        kernel_KD = self.param(
            "kernel",
            nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=0, out_axis=()),
            (self.kernel, width),
            jnp.float32,
        )
        bias_D = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        x_BTD, kernel_KD, bias_D = nn.dtypes.promote_dtype(x_BTD, kernel_KD, bias_D)
        padded_BTD = jnp.pad(x_BTD, ((0, 0), (half, half), (0, 0)))
        length = x_BTD.shape[1]
        taps = (broadcast(kernel_D, x_BTD.shape) for kernel_D in kernel_KD)
        y_BTD = sum(padded_BTD[:, k : k + length] * tap_BTD for k, tap_BTD in enumerate(taps))
        return y_BTD + broadcast(bias_D, x_BTD.shape)
