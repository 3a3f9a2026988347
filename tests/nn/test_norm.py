import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxlm.nn.norm import LayerNorm, RMSNorm, make_norm


def numpy_layer_norm(x, scale, shift, eps):
    x = x.astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * scale + shift


def numpy_rms_norm(x, scale, eps):
    x = x.astype(np.float64)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(-30, 30), size=st.floats(0.1, 100))
def test_norms_equal_numpy_in_double_precision(seed, offset, size):
    draw = np.random.default_rng(seed)
    x = (draw.normal(size=(2, 3, 8)) * size + offset).astype(np.float32)
    scale, shift = draw.normal(size=(2, 8)).astype(np.float32)
    layer = LayerNorm().apply({"params": {"scale": scale, "bias": shift}}, x)
    rms = RMSNorm().apply({"params": {"scale": scale}}, x)
    np.testing.assert_allclose(layer, numpy_layer_norm(x, scale, shift, 1e-5), rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(rms, numpy_rms_norm(x, scale, 1e-5), rtol=2e-5, atol=1e-5)


def test_gradients_of_layer_norm_equal_finite_differences():
    x, scale, shift = jax.random.normal(jax.random.key(0), (3, 2, 4, 8))
    params = {"params": {"scale": scale[0, 0], "bias": shift[0, 0]}}
    check_grads(lambda p, x: LayerNorm().apply(p, x), (params, x), order=1, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_statistics_are_float32_and_the_input_dtype_is_returned(kind):
    x = (300 + jax.random.normal(jax.random.key(0), (1, 2, 64))).astype(jnp.bfloat16)
    norm = make_norm(kind, eps=1e-5, bias=True, name="norm")
    variables = norm.init(jax.random.key(0), x)
    half, full = norm.apply(variables, x), norm.apply(variables, x.astype(jnp.float32))
    assert half.dtype == jnp.bfloat16
    assert jnp.array_equal(half, full.astype(jnp.bfloat16))


def test_layer_norm_without_bias_has_a_scale_only():
    assert set(LayerNorm(bias=False).init(jax.random.key(0), jnp.ones((2, 4)))["params"]) == {"scale"}


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_the_formula_of_other_backends_is_the_same_function(monkeypatch, kind):
    x = 3 + jax.random.normal(jax.random.key(0), (2, 4, 48))
    norm = make_norm(kind, eps=1e-5, bias=True, name="norm")
    variables = norm.init(jax.random.key(0), x)
    here = norm.apply(variables, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(norm.apply(variables, x), here, atol=1e-5)
