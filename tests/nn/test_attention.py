import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.nn import attention
from jaxlm.nn.attention import Attention, attend, attend_by_head, segment_mask


def draw(seed, batch=2, length=7, heads=4, kv_heads=2, width=6):
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = [(batch, length, count, width) for count in (heads, kv_heads, kv_heads)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def numpy_attention(query, key, value, mask, bias=None, scale=None):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    output = np.zeros_like(query)
    group = query.shape[2] // key.shape[2]
    for b, t, n in np.ndindex(*query.shape[:3]):
        scores = key[b, :, n // group] @ query[b, t, n] * (scale or query.shape[-1] ** -0.5)
        scores += 0 if bias is None else np.asarray(bias)[0, n, t]
        weights = np.where(mask[b, t], np.exp(scores - scores.max()), 0)
        output[b, t, n] = weights @ value[b, :, n // group] / weights.sum()
    return output


def by_head(query, key, value, *mask, **options):
    """Attention to keys and values in the order of a cache."""
    return attend_by_head(query, key.swapaxes(1, 2), value.swapaxes(1, 2), *mask, **options)


both = pytest.mark.parametrize("attend", [attend, by_head])


@both
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), kv_heads=st.sampled_from([1, 2, 4]))
def test_attention_equals_a_loop_in_numpy(attend, seed, kv_heads):
    query, key, value = draw(seed, kv_heads=kv_heads)
    causal = np.tril(np.ones((2, 7, 7), bool))
    np.testing.assert_allclose(attend(query, key, value), numpy_attention(query, key, value, causal), atol=1e-5)
    segments = np.sort(np.random.default_rng(seed).integers(0, 3, (2, 7)), axis=1)
    allowed = causal & (segments[:, :, None] == segments[:, None])
    masked = attend(query, key, value, segment_mask(jnp.asarray(segments)))
    np.testing.assert_allclose(masked, numpy_attention(query, key, value, allowed), atol=1e-5)


@both
def test_a_bias_and_a_scale_enter_before_the_softmax(attend):
    query, key, value = draw(4)
    bias = jax.random.normal(jax.random.key(5), (1, 4, 7, 7))
    for causal in (True, False):
        seen = np.tril(np.ones((2, 7, 7), bool)) if causal else np.ones((2, 7, 7), bool)
        output = attend(query, key, value, causal=causal, bias_1NTS=bias, scale=0.7)
        np.testing.assert_allclose(output, numpy_attention(query, key, value, seen, bias, 0.7), atol=1e-5)


def test_segments_without_causality_see_all_of_their_own():
    segments = np.array([[1, 1, 2, 0], [3, 0, 3, 3]])
    mask = segment_mask(jnp.asarray(segments), causal=False)[:, 0]
    np.testing.assert_array_equal(mask, segments[:, :, None] == segments[:, None])


def test_queries_keys_and_values_may_do_without_the_bias_of_the_output():
    x = jnp.ones((1, 2, 4))
    layer = Attention(heads=2, kv_heads=2, depth=1, qkv_bias=False)
    assert {name: set(leaf) for name, leaf in layer.init(jax.random.key(0), x)["params"].items()} == {
        "qkv": {"kernel"},
        "output": {"kernel", "bias"},
    }


def test_attention_and_its_gradient_equal_torch():
    torch = pytest.importorskip("torch")
    arrays = draw(0, kv_heads=4)
    tensors = [torch.tensor(np.asarray(x)).transpose(1, 2).requires_grad_() for x in arrays]
    theirs = torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True)
    np.testing.assert_allclose(attend(*arrays), theirs.transpose(1, 2).detach().numpy(), atol=1e-5)
    (theirs**2).sum().backward()
    ours = jax.grad(lambda arrays: (attend(*arrays) ** 2).sum())(arrays)
    for gradient, tensor in zip(ours, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.transpose(1, 2).numpy(), atol=1e-4)


def test_grouped_queries_equal_full_heads_with_repeated_keys():
    query, key, value = draw(1)
    repeated = attend(query, jnp.repeat(key, 2, axis=2), jnp.repeat(value, 2, axis=2))
    np.testing.assert_allclose(attend(query, key, value), repeated, atol=1e-6)


def test_the_layer_is_attention_between_its_two_projections():
    x = jax.random.normal(jax.random.key(0), (2, 5, 12))
    layer = Attention(heads=3, kv_heads=3, depth=2)
    variables = layer.init(jax.random.key(1), x)
    params = variables["params"]
    qkv = x @ params["qkv"]["kernel"]
    query, key, value = (part.reshape(2, 5, 3, 4) for part in jnp.split(qkv, 3, axis=-1))
    causal = np.tril(np.ones((2, 5, 5), bool))
    expected = numpy_attention(query, key, value, causal).reshape(2, 5, 12) @ params["output"]["kernel"]
    np.testing.assert_allclose(layer.apply(variables, x)[0], expected, atol=1e-5)


def test_half_precision_softmax_is_computed_in_float32():
    arrays = [x.astype(jnp.bfloat16) for x in draw(2)]
    half = attend(*arrays)
    full = attend(*[x.astype(jnp.float32) for x in arrays])
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=3e-2)


def test_a_fully_masked_row_is_finite():
    query, key, value = draw(3)
    assert jnp.isfinite(attend(query, key, value, jnp.zeros((2, 1, 7, 7), bool))).all()


@pytest.mark.parametrize(
    ("backend", "dtype", "width", "masked", "fused"),
    [
        ("gpu", jnp.bfloat16, 64, False, True),
        ("gpu", jnp.float16, 128, False, True),
        ("gpu", jnp.float32, 64, False, False),
        ("gpu", jnp.bfloat16, 64, True, False),
        ("gpu", jnp.bfloat16, 36, False, False),
        ("gpu", jnp.bfloat16, 256, False, False),
        ("cpu", jnp.bfloat16, 64, False, False),
    ],
)
def test_the_fused_kernel_is_chosen_where_it_applies(monkeypatch, backend, dtype, width, masked, fused):
    chosen = {}

    def spy(query, key, value, **options):
        chosen.update(options)
        return query

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    x = jnp.zeros((1, 4, 1, width), dtype)
    attention.attend(x, x, x, jnp.ones((1, 1, 4, 4), bool) if masked else None)
    assert chosen == ({"scale": None, "is_causal": True, "implementation": "cudnn"} if fused else {})
