"""Affine maps with the initialisation of GPT-2."""

import flax.linen as nn

KERNEL_STD = 0.02


def residual_std(depth: int) -> float:
    """Standard deviation for the kernels that write into the residual stream, two a layer.

    Radford et al. 2019 (GPT-2), section 2.3: residual weights are scaled at initialisation by 1/sqrt(N) with N the
    number of residual layers, so that the stream's variance does not grow with the depth.
    """
    return KERNEL_STD / (2 * depth) ** 0.5


def dense(features: int, *, bias: bool, name: str, std: float = KERNEL_STD) -> nn.Dense:
    """An affine map of the last axis to `features`, computed in the dtype that its input and parameters promote to."""
    return nn.Dense(features, use_bias=bias, kernel_init=nn.initializers.normal(std), name=name)
