"""Dense layers and convolutions in integers: 8-bit weights, 8-bit inputs, sums in 32 bits.

B batch, H height, W width, I channels in, O channels out.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.nn.conv import LAYOUT, Conv
from jaxlm.nn.linear import Dense, broadcast
from jaxlm.nn.module import Params
from jaxlm.nn.taps import intercept_layers

LARGEST = 127  # of an integer, so that both signs have the same steps
Kernel = Mapping[str, jax.Array]  # "int8" and "step" of `quantise`, and "input_step", a float32 scalar


def to_integers(x: jax.Array, step: jax.Array) -> jax.Array:
    """Round numbers to multiples of a step, int8; what is beyond 127 steps is clipped."""
    values = jnp.round(x.astype(jnp.float32) / jnp.where(step == 0, 1, step))
    return jnp.clip(values, -LARGEST, LARGEST).astype(jnp.int8)


def integer_dense(x: jax.Array, kernel: Kernel) -> jax.Array:
    """Multiply the last axis of x [..., I] with a kernel [I, O] in integers, float32 [..., O].

    Each output is exactly `sum(x_int8 * kernel_int8) * (input_step * step)`, with the sum in int32 and one rounding of
    the product, so it depends on its row and nothing else. Sums of up to 133,000 inputs cannot overflow.
    """
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    integers = to_integers(x, kernel["input_step"])
    return _scaled(jax.lax.dot_general(integers, kernel["int8"], axes, preferred_element_type=jnp.int32), kernel)


def integer_convolve(x_BHWI: jax.Array, kernel: Kernel, stride: int, padding: Any, groups: int = 1) -> jax.Array:
    """Cross-correlate images with a kernel [H, W, I, O] in integers, float32 [B, H', W', O], see `integer_dense`."""
    sums = jax.lax.conv_general_dilated(
        to_integers(x_BHWI, kernel["input_step"]),
        kernel["int8"],
        (stride, stride),
        padding,
        dimension_numbers=LAYOUT,
        feature_group_count=groups,
        preferred_element_type=jnp.int32,
    )
    return _scaled(sums, kernel)


def _scaled(sums: jax.Array, kernel: Kernel) -> jax.Array:
    step_O = kernel["input_step"] * kernel["step"].reshape(-1)
    return sums.astype(jnp.float32) * jnp.broadcast_to(step_O, sums.shape)


def integer_layers(params: Params) -> AbstractContextManager:
    """Return a context in which the layers that have an integer kernel compute with it.

    Args:
        params: of the model that is applied in the context, with `Kernel`s in the place of some kernels.
    """

    def visit(module: Dense | Conv, x: jax.Array, compute: Callable[[], jax.Array]) -> jax.Array:
        kernel = find_kernel(params, module)
        if not isinstance(kernel, Mapping) or "input_step" not in kernel:
            return compute()
        if isinstance(module, Conv):
            high, wide = module.kernel
            padding = module.padding or ((high // 2, high // 2), (wide // 2, wide // 2))
            y = integer_convolve(x, kernel, module.stride, padding, module.groups)
        else:
            y = integer_dense(x, kernel)
        y = y.astype(x.dtype)
        if module.bias:
            y = y + broadcast(module.get_variable("params", "bias").astype(y.dtype), y.shape)
        return y

    return intercept_layers(visit, Dense, Conv)


def find_kernel(params: Params, module: Dense | Conv) -> Any:
    """Return the kernel of a layer within the parameters of its model; None: it has none of its own there."""
    found = params
    for name in (*module.path, "kernel"):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found
