"""Integer layers give what NumPy's integers give, in every bit."""

import jax
import numpy as np
import pytest

from jaxlm.nn.integer import integer_convolve, integer_dense, integer_layers, to_integers
from jaxlm.nn.linear import Dense
from jaxlm.nn.quantise import quantise

DRAW = np.random.default_rng(0)


def kernel_of(weights, largest):
    """An integer kernel of weights, for inputs up to a magnitude."""
    return quantise({"kernel": weights}, 8)["kernel"] | {"input_step": np.float32(largest / 127)}


def integers(x, step):
    return np.clip(np.round(x / step), -127, 127).astype(np.int64)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (3, 2, 5)])
def test_a_dense_layer_is_an_integer_product_and_one_rounding(shape):
    weights, x = DRAW.normal(size=(5, 7)).astype(np.float32), DRAW.normal(size=shape).astype(np.float32)
    kernel = jax.device_get(kernel_of(weights, 1.5))  # some inputs are beyond it
    sums = integers(x, kernel["input_step"]) @ kernel["int8"].astype(np.int64)
    expected = sums.astype(np.float32) * (kernel["input_step"] * kernel["step"].reshape(-1))
    np.testing.assert_array_equal(jax.jit(integer_dense)(x, kernel), expected)


@pytest.mark.parametrize(("stride", "groups", "before"), [(1, 1, 1), (2, 1, 0), (1, 2, 1)])
def test_a_convolution_is_an_integer_sum_over_each_patch(stride, groups, before):
    x = DRAW.normal(size=(2, 6, 7, 4)).astype(np.float32)
    weights = DRAW.normal(size=(3, 3, 4 // groups, 6)).astype(np.float32)
    kernel = jax.device_get(kernel_of(weights, 2.0))
    padding = ((before, 1), (before, 1))
    padded = np.pad(integers(x, kernel["input_step"]), ((0, 0), *padding, (0, 0)))
    whole, (inner, outer) = kernel["int8"].astype(np.int64), (4 // groups, 6 // groups)
    high, wide = ((size - 3) // stride + 1 for size in padded.shape[1:3])
    sums = np.zeros((2, high, wide, 6), np.int64)
    for row, column, group in np.ndindex(high, wide, groups):
        patch = padded[:, row * stride : row * stride + 3, column * stride : column * stride + 3]
        patch, part = patch[..., group * inner : (group + 1) * inner], slice(group * outer, (group + 1) * outer)
        sums[:, row, column, part] = np.einsum("bhwi,hwio->bo", patch, whole[..., part])
    expected = sums.astype(np.float32) * (kernel["input_step"] * kernel["step"].reshape(-1))
    found = jax.jit(integer_convolve, static_argnums=(2, 3, 4))(x, kernel, stride, padding, groups)
    np.testing.assert_array_equal(found, expected)


def test_a_layer_without_a_range_and_an_input_of_zeros_stay_finite():
    assert not np.asarray(to_integers(np.zeros(3, np.float32), np.float32(0))).any()
    layer, x = Dense(2), np.ones((1, 3), np.float32)
    variables = layer.init(jax.random.key(0), x)
    expected = layer.apply(variables, x)
    with integer_layers(variables["params"]):
        np.testing.assert_array_equal(layer.apply(variables, x), expected)
        assert layer.init(jax.random.key(0), x)["params"].keys() == {"kernel", "bias"}
