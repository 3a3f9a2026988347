"""The way from noise to pictures: an exact derivative gives its distribution; guidance; rows on their own."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode.pictures import Paint
from jaxlm.errors import BadInput
from jaxlm.losses.flow_matching import cosine_path, straight_path

PATHS = {"straight": straight_path, "cosine": cosine_path}
SPREAD = 0.4
TOKENS = jnp.arange(6, dtype=jnp.int32).reshape(6, 1)
SEGMENTS = jnp.ones((6, 1), jnp.int32)
NOISE = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 3, 1)).astype(np.float32))


def normal_model(path):
    """The exact derivative where images of token k are from N(0.3 k, SPREAD^2), those without a caption around -1.

    The flow of noise e is then mean + SPREAD * e at every pixel.
    """

    def apply(variables, first, second, caption=None, *, method):
        if method == "encode":
            return jnp.where(second[:, 0] > 0, 0.3 * first[:, 0], -1.0)
        mean, at = caption[:, None, None, None], path(second[:, None, None, None])
        gain = (first - at.image * mean) / (at.image**2 * SPREAD**2 + at.noise**2)
        return at.image_slope * (mean + at.image * SPREAD**2 * gain) + at.noise_slope * at.noise * gain

    return SimpleNamespace(apply=apply)


def paint(path, method="heun", steps=40, guidance=1.0, rows=slice(None), segments=SEGMENTS):
    steps_B = jnp.broadcast_to(jnp.asarray(steps, jnp.int32), (6,))
    guidance_B = jnp.broadcast_to(jnp.asarray(guidance, jnp.float32), (6,))
    inputs = (x[rows] for x in (TOKENS, segments, NOISE, steps_B, guidance_B))
    return np.asarray(Paint(method=method)(normal_model(path), path, {}, *inputs))


def exact(means):
    return np.asarray(means)[:, None, None, None] + SPREAD * np.asarray(NOISE)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_exact_derivative_of_a_normal_distribution_gives_that_distribution(path):
    means = 0.3 * np.arange(6)
    errors = {
        (method, steps): np.abs(paint(path, method, steps) - exact(means)).max()
        for method in ("euler", "heun")
        for steps in (20, 40)
    }
    assert errors["heun", 40] < 2e-3
    assert 1.6 < errors["euler", 20] / errors["euler", 40] < 2.4  # of first order
    assert 3.0 < errors["heun", 20] / errors["heun", 40] < 5.0  # and of second
    assert errors["heun", 40] < errors["euler", 40] / 3


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_one_step_is_exact_where_the_image_is_known(path):
    def apply(variables, first, second, caption=None, *, method):
        if method == "encode":
            return jnp.zeros(len(first))
        at = path(second[:, None, None, None])
        noise = (first - at.image * 0.7) / at.noise
        return at.image_slope * 0.7 + at.noise_slope * noise

    inputs = TOKENS, SEGMENTS, NOISE, jnp.ones(6, jnp.int32), jnp.ones(6)
    found = Paint(method="euler")(SimpleNamespace(apply=apply), path, {}, *inputs)
    np.testing.assert_allclose(found, 0.7, atol=1e-5)


def test_a_step_on_the_cosine_path_is_that_of_ddim():
    """Salimans & Ho 2022, equation 8, from alpha, sigma and v at both ends of a step, in their notation."""
    slope = jnp.asarray(np.random.default_rng(1).normal(size=NOISE.shape).astype(np.float32))

    def apply(variables, first, second, caption=None, *, method):
        return jnp.zeros(len(first)) if method == "encode" else jnp.concatenate([slope, slope])

    z = np.asarray(NOISE, np.float64)
    for now, then in ((0.0, 0.5), (0.5, 1.0)):
        alpha, sigma = np.sin(now * np.pi / 2), np.cos(now * np.pi / 2)
        v = -np.asarray(slope)
        z = np.sin(then * np.pi / 2) * (alpha * z - sigma * v) + np.cos(then * np.pi / 2) * (sigma * z + alpha * v)
    inputs = TOKENS, SEGMENTS, NOISE, jnp.full(6, 2, jnp.int32), jnp.ones(6)
    found = Paint(method="euler")(SimpleNamespace(apply=apply), cosine_path, {}, *inputs)
    np.testing.assert_allclose(found, z, atol=1e-5)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_guidance_of_1_is_the_model_and_of_0_the_model_without_captions(method):
    given, free = paint(straight_path, method, 5), paint(straight_path, method, 5, segments=0 * SEGMENTS)
    other = paint(straight_path, method, 5, guidance=1.0)
    np.testing.assert_array_equal(given, other)
    np.testing.assert_allclose(paint(straight_path, method, 5, guidance=0.0), free, atol=1e-5)
    np.testing.assert_allclose(free, paint(straight_path, method, 5, guidance=3.0, segments=0 * SEGMENTS), atol=1e-5)
    beyond = paint(straight_path, method, 5, guidance=2.0)
    np.testing.assert_allclose(beyond - given, given - free, atol=1e-4)  # the derivative is linear in the mean


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_picture_depends_on_its_own_row_alone(path):
    steps, guidance = np.array([1, 2, 3, 8, 5, 4]), np.array([1, 2, 0.5, 3, 1, 0])
    whole = paint(path, steps=steps, guidance=guidance)
    for rows in (slice(0, 1), slice(2, 5), slice(5, 6)):
        np.testing.assert_allclose(paint(path, steps=steps, guidance=guidance, rows=rows), whole[rows], atol=1e-6)


def test_rows_of_zeros_stay_finite():
    zeros = jnp.zeros(6, jnp.int32)
    found = Paint()(normal_model(straight_path), straight_path, {}, TOKENS, 0 * SEGMENTS, NOISE, zeros, 0.0 * zeros)
    np.testing.assert_array_equal(found, NOISE)


@pytest.mark.parametrize(
    "field", [{"method": "leap"}, {"steps": 0}, {"steps": 10**6}, {"guidance": -1.0}, {"guidance": float("inf")}]
)
def test_what_cannot_be_is_one_line(field):
    with pytest.raises(BadInput, match=r"^(decode\.method|steps|guidance) is [^\n]+: [^\n]+$"):
        Paint(**field)


def test_it_is_one_compiled_program_for_all_steps_and_guidance():
    traced = []

    def make(steps_B, guidance_B):
        traced.append(1)
        return Paint()(normal_model(straight_path), straight_path, {}, TOKENS, SEGMENTS, NOISE, steps_B, guidance_B)

    compiled = jax.jit(make)
    for steps in (1, 7):
        compiled(jnp.full(6, steps, jnp.int32), jnp.full(6, steps / 2))
    assert len(traced) == 1
