"""Affine maps, and broadcasting whose gradient is summed in float32."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.module import Module

KERNEL_STD = 0.02


def wide(x: jax.Array) -> jax.Array:
    """Convert to float32 an array of half precision; float32 and float64 are kept.

    A sum of many terms in bfloat16 stops growing at 256 times its terms. What is summed over rows is therefore
    converted first: the converts are fused into the sum, so an accelerator reads the same bytes.
    """
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def broadcast(x: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Broadcast a parameter to `shape`, like `jnp.broadcast_to`; its gradient is summed in float32.

    JAX transposes a broadcast into a sum in the dtype of the broadcast array. For a bias in bfloat16 over a few
    thousand rows that sum is off by half and depends on the micro-batches.
    """
    return jnp.broadcast_to(wide(x), shape).astype(x.dtype)


def matmul(x: jax.Array, kernel_IO: jax.Array) -> jax.Array:
    """Multiply the last axis of x [..., I] with a kernel, [..., O]; the other axes are computed as one.

    The product is the same. The gradient of the kernel sums over all other axes, and where there are several, XLA's CPU
    backend first transposes what it multiplies, in twice the time for 256 outputs and four times for 6,000
    (scripts/bench_layers.py). Axes whose sizes `jax.export` leaves open are not joined, as JAX cannot prove about every
    product of such sizes that it is one of an array.
    """
    if not all(isinstance(size, int) for size in x.shape):
        return x @ kernel_IO
    return (x.reshape(-1, x.shape[-1]) @ kernel_IO).reshape(*x.shape[:-1], kernel_IO.shape[-1])


class Dense(Module):
    """Affine map of the last axis to `features`, in the dtype that its input and parameters promote to.

    It is `flax.linen.Dense` with the gradient of the bias summed in float32 (`broadcast`).

    Attributes:
        features: width of the output.
        bias: add a bias.
        kernel_init: initialiser of the kernel [inputs, features].
    """

    features: int
    bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the map, [..., features]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        y = matmul(x, kernel)
        return y if bias is None else y + broadcast(bias, y.shape)


def residual_std(depth: int) -> float:
    """Return the standard deviation for kernels that write into the residual stream, two for each layer.

    Radford et al. 2019 (GPT-2), section 2.3: residual weights are scaled at initialisation by 1/sqrt(N) with N the
    number of residual layers, so that the stream's variance does not grow with the depth.
    """
    return KERNEL_STD / (2 * depth) ** 0.5


def dense(features: int, *, bias: bool, name: str, std: float = KERNEL_STD) -> Dense:
    """Return an affine map with the initialisation of GPT-2, N(0, std^2)."""
    return Dense(features, bias, nn.initializers.normal(std), name=name)
