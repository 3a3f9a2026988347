import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import residual_std


def test_gelu_is_the_tanh_formula_between_two_affine_maps():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    layer = FeedForward(hidden=8, depth=2)
    variables = layer.init(jax.random.key(1), x)
    up, down = (np.asarray(variables["params"][name]["kernel"], np.float64) for name in ("up", "down"))
    h = np.asarray(x, np.float64) @ up
    h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    np.testing.assert_allclose(layer.apply(variables, x), h @ down, atol=1e-6)


def test_the_exact_gelu_is_the_normal_distribution_function():
    x = 3 * jax.random.normal(jax.random.key(0), (2, 3, 4))
    layer = FeedForward(hidden=8, depth=2, activation="gelu_exact")
    variables = jax.tree.map(lambda x: 30 * x, layer.init(jax.random.key(1), x))
    up, down = (np.asarray(variables["params"][name]["kernel"], np.float64) for name in ("up", "down"))
    h = np.asarray(x, np.float64) @ up
    np.testing.assert_allclose(layer.apply(variables, x), h * (1 + erf(h / np.sqrt(2))) / 2 @ down, atol=1e-5)


def test_swiglu_gates_one_map_with_another():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    layer = FeedForward(hidden=8, depth=2, activation="swiglu", bias=False)
    variables = layer.init(jax.random.key(1), x)
    up, gate, down = (np.asarray(variables["params"][name]["kernel"], np.float64) for name in ("up", "gate", "down"))
    gated = np.asarray(x, np.float64) @ gate
    gated = gated / (1 + np.exp(-gated))
    np.testing.assert_allclose(layer.apply(variables, x), (gated * (np.asarray(x) @ up)) @ down, atol=1e-6)


def test_kernels_start_as_in_gpt2():
    layer = FeedForward(hidden=512, depth=8)
    params = layer.init(jax.random.key(0), jnp.ones((1, 1, 128)))["params"]
    np.testing.assert_allclose(params["up"]["kernel"].std(), 0.02, rtol=0.02)
    np.testing.assert_allclose(params["down"]["kernel"].std(), 0.02 / 4, rtol=0.02)
    assert residual_std(8) == 0.02 / 4
    assert not params["up"]["bias"].any()
