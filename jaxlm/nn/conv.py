"""Two-dimensional convolution and pooling, with a weight gradient that is fast on CPUs.

B batch, H height, W width, I channels in, O channels out.
"""

from collections.abc import Callable
from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.linear import broadcast, matmul, wide
from jaxlm.nn.module import Module

LAYOUT = ("NHWC", "HWIO", "NHWC")
PART = 1 << 18  # entries of the input in one part of a weight gradient: about a megabyte, measured (see `_on_cpu`)


Padding = tuple[tuple[int, int], tuple[int, int]]  # before and after, for height and for width


class Conv(Module):
    """Two-dimensional convolution of x [B, H, W, I] to [B, H', W', features].

    Computed in the dtype that the input and the kernel promote to.

    Attributes:
        features: channels out.
        kernel: height and width; both odd where `padding` is None.
        stride: in both directions.
        padding: zeros before and after, for height and for width. None: half a kernel on each side, which keeps H and W
            at stride 1. PyTorch pads like this; TensorFlow's SAME differs at stride 2.
        groups: groups of channels that are convolved separately.
        bias: add a bias.
        patches: compute it as a matrix product with the patches of the image, at stride 1. In a loop of one program XLA
            does on a CPU in a fifth of the time what takes a convolution (`unfold_and_multiply`).
        kernel_init: initialiser of the kernel, N(0, 2 / fan_out) by default (He et al. 2015, arXiv:1502.01852, section
            2.2, "backward").
    """

    features: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: Padding | None = None
    groups: int = 1
    bias: bool = False
    patches: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

    @nn.compact
    def __call__(self, x_BHWI: jax.Array) -> jax.Array:
        """Apply the convolution."""
        high, wide = self.kernel
        half = ((high // 2, high // 2), (wide // 2, wide // 2))
        shape = (high, wide, x_BHWI.shape[-1] // self.groups, self.features)
        kernel_HWIO = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x_BHWI, kernel_HWIO = nn.dtypes.promote_dtype(x_BHWI, kernel_HWIO)
        padding = self.padding or half
        if self.patches and self.stride == self.groups == 1:
            y_BHWO = unfold_and_multiply(x_BHWI, kernel_HWIO, padding)
        else:
            y_BHWO = convolve(x_BHWI, kernel_HWIO, self.stride, padding, self.groups)
        if self.bias:
            bias_O = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y_BHWO = y_BHWO + broadcast(bias_O.astype(y_BHWO.dtype), y_BHWO.shape)
        return y_BHWO


def convolve(
    x_BHWI: jax.Array, kernel_HWIO: jax.Array, stride: int = 1, padding: Padding = ((0, 0), (0, 0)), groups: int = 1
) -> jax.Array:
    """Cross-correlate images with a kernel, [B, H', W', O]; a 1x1 kernel becomes a matrix product."""
    if kernel_HWIO.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)) and groups == 1:
        return matmul(x_BHWI[:, ::stride, ::stride], kernel_HWIO[0, 0])
    if jax.default_backend() == "cpu" and groups == 1:
        return _on_cpu(x_BHWI, kernel_HWIO, stride, padding)
    return _convolve(x_BHWI, kernel_HWIO, stride, padding, groups)


def unfold_and_multiply(x_BHWI: jax.Array, kernel_HWIO: jax.Array, padding: Padding) -> jax.Array:
    """Convolve at stride 1 by one matrix product of all patches, which take the input's memory times the kernel's area.

    XLA's CPU backend computes a convolution within a loop, such as the local updates of federated learning, four times
    slower than outside of one. Measured for a CNN with widths (8, 16) and 64 hidden units on 28 x 28 images, in batches
    of 10, in milliseconds of CPU time an update: convolutions 4.9 outside of a loop and 21 within, matrix products
    3.8 within.
    """
    high, wide = kernel_HWIO.shape[:2]
    padded = jnp.pad(x_BHWI, ((0, 0), *padding, (0, 0)))
    rows, columns = padded.shape[1] - high + 1, padded.shape[2] - wide + 1
    shifts = [padded[:, i : i + rows, j : j + columns] for i in range(high) for j in range(wide)]
    return matmul(jnp.concatenate(shifts, axis=-1), kernel_HWIO.reshape(-1, kernel_HWIO.shape[-1]))


def _convolve(x_BHWI: jax.Array, kernel_HWIO: jax.Array, stride: int, padding: Padding, groups: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x_BHWI, kernel_HWIO, (stride, stride), padding, dimension_numbers=LAYOUT, feature_group_count=groups
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _on_cpu(x_BHWI: jax.Array, kernel_HWIO: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Convolve with a weight gradient that is fast on a CPU; it has no forward-mode derivative.

    XLA's CPU backend computes a weight gradient as one convolution that sums over the whole batch. Summed over parts
    that fit into a cache it took a half to a quarter of the time (batch 128, 32 x 32 images, 16 to 256 channels, two
    cores).
    """
    return _convolve(x_BHWI, kernel_HWIO, stride, padding)


def _forward(x_BHWI: jax.Array, kernel_HWIO: jax.Array, stride: int, padding: Padding) -> tuple[jax.Array, tuple]:
    return _convolve(x_BHWI, kernel_HWIO, stride, padding), (x_BHWI, kernel_HWIO)


def _backward(stride: int, padding: Padding, saved: tuple, slope_BHWO: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_BHWI, kernel_HWIO = saved
    (slope_BHWI,) = jax.vjp(lambda x: _convolve(x, kernel_HWIO, stride, padding), x_BHWI)[1](slope_BHWO)
    return slope_BHWI, _weight_slope(x_BHWI, slope_BHWO, kernel_HWIO.shape[:2], stride, padding)


def _weight_slope(
    x_BHWI: jax.Array, slope_BHWO: jax.Array, kernel: tuple[int, ...], stride: int, padding: Padding
) -> jax.Array:
    """Compute the gradient of the kernel: images act as kernels, channels as the batch and examples as channels."""
    parts = max(1, min(len(x_BHWI), x_BHWI.size // PART))
    parts = next(number for number in range(parts, 0, -1) if len(x_BHWI) % number == 0)
    parts_PIHWB = _apart(x_BHWI, parts, lambda x: x.transpose(3, 1, 2, 0))
    slopes_PBHWO = slope_BHWO.reshape(parts, -1, *slope_BHWO.shape[1:])
    margins = []
    for (before, _), size, inside, outside in zip(
        padding, kernel, x_BHWI.shape[1:3], slope_BHWO.shape[1:3], strict=True
    ):
        margins.append((before, size + (outside - 1) * stride - inside - before))
    sums = [
        jax.lax.conv_general_dilated(
            part, slope, (1, 1), margins, rhs_dilation=(stride, stride), dimension_numbers=("NHWC", "IHWO", "NHWC")
        )
        for part, slope in zip(parts_PIHWB, slopes_PBHWO, strict=True)
    ]
    total = reduce(jnp.add, [wide(part) for part in sums]).astype(x_BHWI.dtype)
    return total.transpose(1, 2, 0, 3)


def _apart(x: jax.Array, parts: int, change: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Apply a function to the parts of a batch one after the other, [P, ...].

    A loop, because XLA would otherwise recompute the producers of x for each part, element by element in the new order.
    """
    parts = parts if len(x) % parts == 0 else 1
    return jax.lax.map(change, x.reshape(parts, -1, *x.shape[1:]))


_on_cpu.defvjp(_forward, _backward)


def max_pool(x_BHWC: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Take the maximum of each window, per channel; padding never wins.

    Windows that do not overlap are computed as a maximum of their pixels: the gradient of XLA's sliding windows is slow
    on a CPU, and the gradient of a maximum over axes was wrong there without optimisations (jaxlib 0.10.0).
    """
    if size == stride and not padding:
        batch, height, width, channels = x_BHWC.shape
        high, wide = height // size, width // size
        x = x_BHWC[:, : high * size, : wide * size].reshape(batch, high, size, wide, size, channels)
        return reduce(jnp.maximum, [x[:, :, row, :, column] for row in range(size) for column in range(size)])
    return nn.max_pool(
        x_BHWC, window_shape=(size, size), strides=(stride, stride), padding=((padding, padding), (padding, padding))
    )


def mean_pool(x_BHWC: jax.Array) -> jax.Array:
    """Average over all pixels (global average pooling), [B, C], in the dtype of x, summed in float32."""
    return wide(x_BHWC).mean((1, 2)).astype(x_BHWC.dtype)
