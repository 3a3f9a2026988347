"""Dropout is Linen's where its rate is a constant, and follows a traced rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxlm.models.gpt import GPT
from jaxlm.nn.dropout import Dropout

X = jax.random.normal(jax.random.key(1), (40, 50)) + 5


def drop(rate, x=X, layer=Dropout):
    return layer(rate, deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(0)})


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_a_constant_rate_is_that_of_linen(rate, dtype):
    ours, theirs = drop(rate, X.astype(dtype)), drop(rate, X.astype(dtype), nn.Dropout)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours == 0, theirs == 0)
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-7
    np.testing.assert_allclose(np.float32(ours), np.float32(theirs), rtol=tolerance)


def test_a_traced_rate_is_a_constant_one():
    traced = jax.jit(drop)
    for rate in (0.25, 0.9):
        found = traced(jnp.float32(rate))
        np.testing.assert_array_equal(found == 0, drop(rate) == 0)
        np.testing.assert_allclose(found, drop(rate), rtol=1e-6)
    assert traced._cache_size() == 1


def test_deterministic_it_is_the_identity():
    for rate in (0.0, 0.5):
        np.testing.assert_array_equal(Dropout(rate, deterministic=True).apply({}, X), X)


@pytest.mark.parametrize("options", [{}, {"scan": True, "remat": True}], ids=["unrolled", "scanned"])
def test_a_model_takes_a_traced_rate(options):
    model = GPT(vocab=16, depth=2, width=8, heads=2, context=8, dropout=0.5, **options)
    tokens = jnp.arange(8)[None]
    variables = model.init(jax.random.key(0), tokens)

    @jax.jit
    def total(rate):
        logits = model.clone(dropout=rate).apply(variables, tokens, train=True, rngs={"dropout": jax.random.key(1)})
        return (logits**2).sum()

    expected = model.apply(variables, tokens, train=True, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_allclose(total(jnp.float32(0.5)), (expected**2).sum(), rtol=1e-5)
    assert total(jnp.float32(0.1)) != total(jnp.float32(0.5))
