import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.nn.position import LearnedPositions, rotate, rotation


def turned(x, position):
    return rotate(x, rotation(jnp.full((1, 1), position), x.shape[-1], 10000.0))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), here=st.integers(0, 200), there=st.integers(0, 200), shift=st.integers(0, 200))
def test_rotary_scores_depend_on_the_distance_alone(seed, here, there, shift):
    query, key = jax.random.normal(jax.random.key(seed), (2, 1, 1, 1, 8))
    near = (turned(query, here) * turned(key, there)).sum()
    far = (turned(query, here + shift) * turned(key, there + shift)).sum()
    np.testing.assert_allclose(near, far, atol=1e-3)


def test_rotation_by_zero_is_the_identity_and_keeps_lengths_elsewhere():
    x = jax.random.normal(jax.random.key(0), (1, 1, 2, 8))
    assert jnp.array_equal(turned(x, 0), x)
    np.testing.assert_allclose(jnp.linalg.norm(turned(x, 17), axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


def test_rotation_equals_complex_multiplication():
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 6)).astype(np.float32)
    angles = 5 * 10000.0 ** (-np.arange(3) / 3)
    product = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angles)
    np.testing.assert_allclose(turned(jnp.asarray(x), 5), np.concatenate([product.real, product.imag], -1), atol=1e-5)


def test_rotation_keeps_the_dtype():
    assert turned(jnp.ones((1, 1, 1, 4), jnp.bfloat16), 3).dtype == jnp.bfloat16


def test_default_positions_are_the_first_rows_of_the_table():
    table = jax.random.normal(jax.random.key(0), (6, 3))
    variables = {"params": {"embedding": table}}
    layer = LearnedPositions(6, 3)
    assert jnp.array_equal(layer.apply(variables, None, 4), table[None, :4])
    assert jnp.array_equal(layer.apply(variables, jnp.array([[3, 0]]), 2), table[jnp.array([[3, 0]])])
