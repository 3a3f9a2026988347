"""Quantised weights: their error, their bytes, and SciPy's account of the normal quantiles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as some

from jaxlm.nn.quantise import NORMAL_FLOAT, dequantise, quantise


def weights(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@partial(jax.jit, static_argnums=1)
def round_trip(params, bits):
    return dequantise(quantise(params, bits))


@given(some.integers(0, 999), some.sampled_from([1e-20, 1.0, 1e20]))
@settings(max_examples=20)
def test_eight_bits_are_off_by_half_a_step_at_most(seed, size):
    kernel = np.asarray(weights((6, 5), seed) * size)
    found = round_trip({"kernel": kernel, "bias": kernel[0]}, 8)
    step = np.abs(kernel).max(0, keepdims=True) / 127
    assert (np.abs(found["kernel"] - kernel) <= 0.5001 * step).all()
    assert np.array_equal(found["bias"], kernel[0])


def test_a_table_has_a_step_for_each_row_and_a_stack_for_each_layer():
    quantised = quantise({"embedding": weights((5, 3)), "kernel": weights((2, 4, 3))}, 8)
    assert quantised["embedding"]["step"].shape == (5, 1)
    assert quantised["kernel"]["step"].shape == (2, 1, 3)
    assert quantise({"kernel": weights((3, 3, 4, 2))}, 8)["kernel"]["step"].shape == (1, 1, 1, 2)


@pytest.mark.parametrize("bits", [4, 8])
def test_zeros_stay_zeros(bits):
    assert not np.asarray(round_trip({"kernel": jnp.zeros((64, 2))}, bits)["kernel"]).any()


@pytest.mark.parametrize(("bits", "error"), [(8, 0.01), (4, 0.1)])
def test_the_error_on_normal_weights(bits, error):
    """The root of the mean square, of the weights' own: 0.7 % in 8 bits, 9.2 % in 4."""
    kernel = weights((768, 256))
    off = np.asarray(round_trip({"kernel": kernel}, bits)["kernel"]) - np.asarray(kernel)
    assert 0.5 * error < np.sqrt((off**2).mean()) < error


@pytest.mark.parametrize(("bits", "share"), [(8, 0.252), (4, 0.141)])
def test_the_bytes_are_a_quarter_and_an_eighth(bits, share):
    quantised = jax.eval_shape(partial(quantise, bits=bits), {"kernel": weights((768, 256))})
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(quantised)) <= share * 768 * 256 * 4


def test_four_bits_take_the_nearest_code_of_the_block():
    kernel = np.asarray(weights((32, 4)))
    found = np.asarray(round_trip({"kernel": kernel}, 4)["kernel"])
    blocks = kernel.reshape(-1, 64)
    largest = np.abs(blocks).max(-1, keepdims=True)
    codes = np.abs((blocks / largest)[..., None] - np.array(NORMAL_FLOAT)).argmin(-1)
    np.testing.assert_allclose(found.reshape(-1, 64), np.array(NORMAL_FLOAT)[codes] * largest, rtol=1e-6)


def test_the_codes_are_the_quantiles_of_the_paper():
    """QLoRA, section 3: quantiles of both halves, with one zero; 0.9677083 is where its code ends."""
    upper = scipy.stats.norm.ppf(np.linspace(0.9677083, 0.5, 9)[:-1])
    lower = -scipy.stats.norm.ppf(np.linspace(0.9677083, 0.5, 8)[:-1])
    codes = np.sort(np.concatenate([upper, [0], lower]))
    np.testing.assert_allclose(NORMAL_FLOAT, codes / codes.max(), atol=1e-6)


def test_a_matrix_that_does_not_divide_into_blocks_stays_as_it_is():
    odd = {"kernel": weights((64, 3)), "embedding": weights((5, 2))}
    assert all(quantise(odd, 4)[name] is odd[name] for name in odd)


def test_a_tree_of_floats_is_given_back():
    params = {"dense": {"kernel": weights((4, 2)), "bias": weights((2,))}}
    jax.tree.map(np.testing.assert_array_equal, dequantise(params), params)
