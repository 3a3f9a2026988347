"""The picture of an alignment shows the weights that the layer computes with, in every model with such layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode.alignment import last_attention
from jaxlm.models.t5 import T5
from jaxlm.models.transformer import Transformer

MODELS = {
    "transformer": Transformer(vocab=30, depth=2, width=8, heads=1),
    "post-norm": Transformer(vocab=30, depth=2, width=8, heads=1, pre_norm=False),
    "T5": T5(vocab=30, depth=2, width=8, heads=1, hidden=16, head_width=8, buckets=4, reach=8),
}


@pytest.mark.parametrize("name", MODELS)
def test_with_one_head_the_output_of_the_layer_is_the_mean_of_the_values_by_these_weights(name):
    model, draw = MODELS[name], np.random.default_rng(0)
    tokens, given = draw.integers(0, 30, (3, 7)), draw.integers(0, 30, (3, 5))
    segments = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.int32)
    variables = model.init(jax.random.key(0), jnp.asarray(tokens), jnp.asarray(given))
    cache = model.apply(variables, tokens, 5, segments=segments, method="init_cache")
    weights = last_attention(model, variables, cache, given)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert not np.asarray(weights)[np.broadcast_to(segments[:, None] == 0, weights.shape)].any()
    value = np.asarray(cache.source.layers[-1][1])[:, 0]
    output = variables["params"]["decoder"]["block_1"]["source_attention"]["output"]
    expected = np.asarray(weights) @ value @ np.asarray(output["kernel"]) + np.asarray(output.get("bias", 0))
    found = model.apply(variables, given, cache=cache, method="decode", capture_intermediates=True, mutable=True)[1]
    layer = found["intermediates"]["decoder"]["block_1"]["source_attention"]["__call__"][0]
    np.testing.assert_allclose(layer, expected, rtol=1e-4, atol=1e-5)
