import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.nn.position import (
    LearnedPositions,
    RelativePositions,
    RotaryScaling,
    apply_rotary,
    distance_buckets,
    rotary_angles,
)


def turned(x, position):
    return apply_rotary(x, rotary_angles(jnp.full((1, 1), position), x.shape[-1], 10000.0))


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


def test_scaled_frequencies_are_kept_divided_or_mixed_by_the_turns_that_they_make():
    """Grattafiori et al. 2024, as their code has it, in wavelengths: 2 pi / frequency."""
    factor, low, high, original = 8.0, 1.0, 4.0, 32
    frequencies = 500.0 ** (-np.arange(0, 64, 2) / 64)
    expected = []
    for frequency in frequencies:
        wavelength = 2 * np.pi / frequency
        if wavelength < original / high:
            expected.append(frequency)
        elif wavelength > original / low:
            expected.append(frequency / factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            expected.append((1 - smooth) * frequency / factor + smooth * frequency)
    kinds = np.round(np.array(expected) / frequencies, 6)
    assert {1.0, 0.125} < set(kinds)  # and something between
    scaling = RotaryScaling(factor, low, high, original)
    np.testing.assert_allclose(scaling(jnp.asarray(frequencies, jnp.float32)), expected, rtol=1e-5)
    positions = jnp.arange(5)[None]
    found = rotary_angles(positions, 64, 500.0, scaling)
    np.testing.assert_allclose(found.cos_BTP[0], np.cos(np.outer(np.arange(5), expected)), atol=1e-5)


def test_default_positions_are_the_first_rows_of_the_table():
    table = jax.random.normal(jax.random.key(0), (6, 3))
    variables = {"params": {"embedding": table}}
    layer = LearnedPositions(6, 3)
    assert jnp.array_equal(layer.apply(variables, None, 4), table[None, :4])
    assert jnp.array_equal(layer.apply(variables, jnp.array([[3, 0]]), 2), table[jnp.array([[3, 0]])])


@settings(max_examples=50, deadline=None)
@given(buckets=st.integers(2, 40), beyond=st.integers(1, 300))
def test_buckets_are_exact_nearby_and_grow_by_one_constant_factor(buckets, beyond):
    exact = buckets // 2
    reach = exact + beyond
    found = distance_buckets(buckets, reach)
    assert found[:exact].tolist() == list(range(exact))
    assert (np.diff(found) >= 0).all()
    assert found[-1] == buckets - 1
    for bucket in range(exact, buckets):  # where a range would begin among the real numbers
        begin = exact * (reach / exact) ** ((bucket - exact) / (buckets - exact))
        inside = np.arange(reach + 1) >= begin - 1e-6
        assert (found[inside] >= bucket).all()
        assert (found[~inside] < bucket).all()


@pytest.mark.slow
def test_buckets_equal_those_of_transformers():
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from transformers.models.t5.modeling_t5 import T5Attention

    for buckets, reach in ((32, 128), (16, 128), (8, 10), (9, 64), (12, 100)):
        theirs = T5Attention._relative_position_bucket(-torch.arange(reach + 1), False, buckets, reach)
        assert distance_buckets(buckets, reach).tolist() == theirs.tolist()


def test_relative_positions_read_the_table_by_bucket_and_side():
    table = np.arange(8.0)[:, None] * np.array([[1.0, 10.0]])
    query, key = np.array([0, 5]), np.array([0, 1, 4, 5, 25])

    def biases(bidirectional):
        layer = RelativePositions(heads=2, buckets=8, reach=20, bidirectional=bidirectional)
        return np.asarray(layer.apply({"params": {"embedding": jnp.asarray(table)}}, query, key))

    both, past = biases(True), biases(False)
    assert both.shape == past.shape == (1, 2, 2, 5)
    np.testing.assert_allclose(both[0, 1], 10 * both[0, 0])
    one_side, all_of_it = distance_buckets(4, 20), distance_buckets(8, 20)
    expected = [[0, 4 + one_side[1], 4 + one_side[4], 4 + one_side[5], 7], [*one_side[[5, 4, 1, 0]], 7]]
    np.testing.assert_allclose(both[0, 0], expected)
    np.testing.assert_allclose(past[0, 0], [[0] * 5, [*all_of_it[[5, 4, 1, 0]], 0]])
