"""Distributions over actions against SciPy, and running moments against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxlm.nn.policy_head import Categorical, DiagonalGaussian
from jaxlm.nn.running_norm import RunningNorm, add_to_moments, no_moments


def test_a_categorical_is_that_of_scipy():
    logits = jnp.array([[0.5, -1.0, 2.0], [3.0, 0.0, 0.1]])
    chances, policy = np.asarray(jax.nn.softmax(logits)), Categorical(logits)
    for action in range(3):
        np.testing.assert_allclose(policy.log_prob(jnp.full(2, action)), np.log(chances[:, action]), rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), [stats.entropy(p) for p in chances], rtol=1e-5)
    assert policy.mode().tolist() == [2, 0]
    drawn = jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose([(np.asarray(drawn) == a).mean(0) for a in range(3)], chances.T, atol=0.02)


def test_a_gaussian_is_that_of_scipy():
    policy = DiagonalGaussian(jnp.array([[0.5, -1.0]]), jnp.log(jnp.array([[2.0, 0.5]])))
    theirs = stats.multivariate_normal([0.5, -1.0], np.diag([4.0, 0.25]))
    action = jnp.array([[1.0, -0.2]])
    np.testing.assert_allclose(policy.log_prob(action), [theirs.logpdf(action[0])], rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), [theirs.entropy()], rtol=1e-5)
    drawn = np.asarray(jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 20_000)))[:, 0]
    np.testing.assert_allclose(drawn.mean(0), [0.5, -1.0], atol=0.05)
    np.testing.assert_allclose(drawn.std(0), [2.0, 0.5], atol=0.05)


def test_moments_are_those_of_all_inputs_together():
    x = np.random.default_rng(0).normal(50, [1, 2, 3], size=(60, 3)).astype(np.float32)
    moments = no_moments((3,))
    for part in (x[:10], x[10:40], x[40:].reshape(4, 5, 3)):
        moments = add_to_moments(moments, jnp.asarray(part), lambda tree: tree)
    assert moments["count"] == 60
    np.testing.assert_allclose(moments["mean"], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments["variance"], x.var(0), rtol=1e-4)


def test_the_layer_standardises_by_its_moments_and_clips():
    layer, x = RunningNorm(limit=2.0), jnp.array([[1.0, 40.0]])
    variables = layer.init(jax.random.key(0), x)
    assert layer.apply(variables, x).tolist() == [[1.0, 2.0]]
    moments = {"count": jnp.ones(()), "mean": jnp.array([0.0, 38.0]), "variance": jnp.array([4.0, 4.0])}
    np.testing.assert_allclose(layer.apply({"moments": moments}, x), [[0.5, 1.0]], rtol=1e-6)
