from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_gpts import LLAMA, SMALL, VARIANTS, every_variant, forward, loss, make_variables, tokens


def stacked(variables, depth):
    """Unrolled blocks as the scanned model holds them: one tree with a leading layer axis."""
    params = dict(variables["params"])
    blocks = [params.pop(f"block_{layer}") for layer in range(depth)]
    return {"params": {**params, "blocks": jax.tree.map(lambda *x: jnp.stack(x), *blocks)}}


@every_variant
def test_no_logit_depends_on_a_later_token(model):
    variables, batch = make_variables(model), tokens()
    vectors = variables["params"]["embed"]["embedding"][batch]

    def logits(vectors, t):
        # The gradient by the looked-up vectors: one-hot tokens over a table that holds these very vectors.
        table = vectors.reshape(-1, model.width)
        rows = jnp.arange(len(table)).reshape(batch.shape)
        wide = model.clone(vocab=len(table), tied=False)
        head = {"kernel": jax.random.normal(jax.random.key(7), (model.width, len(table)))}
        params = {**variables["params"], "embed": {"embedding": table}, "head": head}
        return jnp.square(forward(wide, {"params": params}, rows)[:, t]).sum()

    gradient_by = jax.jit(jax.grad(logits))
    for t in (0, 4):
        gradient = gradient_by(vectors, t)
        assert not gradient[:, t + 1 :].any()
        assert gradient[:, : t + 1].any(axis=-1).all()


@every_variant
def test_packed_rows_equal_the_documents_alone(model):
    variables = make_variables(model)
    first, second = tokens(2, 1, 4), tokens(3, 1, 5)
    row = jnp.concatenate([first, second, jnp.zeros((1, 3), jnp.int32)], axis=1)
    segments = jnp.array([[1] * 4 + [2] * 5 + [0] * 3])
    packed = forward(model, variables, row, segments=segments)
    np.testing.assert_allclose(packed[:, :4], forward(model, variables, first), atol=1e-4)
    np.testing.assert_allclose(packed[:, 4:9], forward(model, variables, second), atol=1e-4)
    positions = jnp.array([[0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2]])
    given = forward(model, variables, row, segments=segments, positions=positions)
    np.testing.assert_allclose(packed, given, atol=1e-5)


@every_variant
def test_a_cache_filled_in_pieces_equals_no_cache(model):
    variables, batch = make_variables(model), tokens()
    cache, pieces = model.init_cache(2, 11), []
    for piece in (batch[:, :6], batch[:, 6:7], batch[:, 7:]):
        logits, cache = forward(model, variables, piece, cache=cache)
        pieces.append(logits)
    np.testing.assert_allclose(jnp.concatenate(pieces, axis=1), forward(model, variables, batch), atol=1e-4)
    assert cache.filled == 10


@every_variant
def test_prompts_padded_on_the_left_equal_single_prompts(model):
    variables, batch = make_variables(model), tokens()
    short = batch[1:, 4:]
    cache = model.init_cache(2, 12, start=jnp.array([0, 4]))
    prefill, cache = forward(model, variables, batch[:, :8], cache=cache)
    rest, _ = forward(model, variables, batch[:, 8:], cache=cache)
    logits = jnp.concatenate([prefill, rest], axis=1)
    np.testing.assert_allclose(logits[1:, 4:], forward(model, variables, short), atol=1e-4)
    np.testing.assert_allclose(logits[:1], forward(model, variables, batch[:1]), atol=1e-4)


@pytest.mark.parametrize(
    ("model", "changes"),
    [(SMALL, {"remat": True}), (SMALL, {"scan": True}), (LLAMA, {"scan": True, "remat": True})],
    ids=["remat", "scan", "scan and remat"],
)
def test_scanned_and_recomputed_layers_are_the_same_function(model, changes):
    variables, batch = make_variables(model), tokens()
    convert = partial(stacked, depth=model.depth) if "scan" in changes else lambda tree: tree
    value_and_gradient = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
    value, gradient = value_and_gradient(model, variables, batch)
    other_value, other_gradient = value_and_gradient(model.clone(**changes), convert(variables), batch)
    np.testing.assert_allclose(other_value, value, rtol=1e-5)
    jax.tree.map(assert_close_to_scale, other_gradient, convert(gradient))


def assert_close_to_scale(x, expected):
    assert jnp.abs(x - expected).max() <= 1e-5 * jnp.abs(expected).max()


def test_as_many_key_heads_as_heads_is_multi_head_attention():
    variables = make_variables(SMALL)
    same = SMALL.clone(kv_heads=SMALL.heads)
    assert jnp.array_equal(forward(SMALL, variables, tokens()), forward(same, variables, tokens()))


def test_grouped_queries_equal_full_heads_with_repeated_kernels():
    grouped = SMALL.clone(kv_heads=2)
    variables = make_variables(grouped)

    def repeat(leaf):
        query, key, value = jnp.split(leaf.reshape(-1, 8, 4), (4, 6), axis=1)
        full = jnp.concatenate([query, jnp.repeat(key, 2, axis=1), jnp.repeat(value, 2, axis=1)], axis=1)
        return full.reshape(*leaf.shape[:-1], 48)

    full = jax.tree.map_with_path(lambda path, x: repeat(x) if "qkv" in jax.tree_util.keystr(path) else x, variables)
    np.testing.assert_allclose(forward(grouped, variables, tokens()), forward(SMALL, full, tokens()), atol=1e-4)


@pytest.mark.parametrize("model", [SMALL, VARIANTS["mistral"]], ids=["gpt2", "mistral"])
def test_the_read_out_is_applied_to_what_encode_gives(model):
    variables = make_variables(model)
    encode = jax.jit(partial(model.apply, method="encode"))
    x_BTD = encode(variables, tokens())
    assert x_BTD.shape == (2, 10, model.width)
    params = variables["params"]
    kernel_DV = params["embed"]["embedding"].T if model.tied else params["head"]["kernel"]
    np.testing.assert_allclose(x_BTD @ kernel_DV, forward(model, variables, tokens()), atol=1e-4)
    segments = jnp.array([[1] * 4 + [2] * 6] * 2)
    inside, alone = encode(variables, tokens(), segments=segments)[:, 4:], encode(variables, tokens()[:, 4:])
    np.testing.assert_allclose(inside, alone, atol=1e-4)


@pytest.mark.parametrize("window", [1, 3, 10])
def test_a_window_is_the_mask_of_the_last_tokens(window):
    """One layer: the logits at t are those at the end of the last `window` tokens alone, at their own positions."""
    model = LLAMA.clone(depth=1, window=window)
    variables, batch = make_variables(model), tokens()
    logits = forward(model, variables, batch)
    positions = jnp.arange(10)[None] + jnp.zeros((2, 1), jnp.int32)
    for t in (2, 9):
        seen = slice(max(0, t - window + 1), t + 1)
        alone = forward(LLAMA.clone(depth=1), variables, batch[:, seen], positions=positions[:, seen])
        np.testing.assert_allclose(logits[:, t], alone[:, -1], atol=1e-4)


def test_a_window_does_nothing_where_all_fits_into_it():
    variables = make_variables(LLAMA)
    wide = forward(LLAMA.clone(window=10), variables, tokens())
    np.testing.assert_array_equal(wide, forward(LLAMA, variables, tokens()))
    assert jnp.abs(forward(LLAMA.clone(window=9), variables, tokens()) - wide)[:, 9].max() > 1e-3


@pytest.mark.parametrize(("which", "names"), [("none", set()), ("qkv", {"qkv"}), ("all", {"qkv", "output"})])
def test_attention_has_the_biases_that_are_asked_for(which, names):
    params = jax.eval_shape(LLAMA.clone(attention_bias=which).init, jax.random.key(0), tokens())["params"]
    attention = params["block_0"]["attention"]
    assert {name for name, layer in attention.items() if "bias" in layer} == names


@pytest.mark.parametrize("scan", [False, True])
def test_dropout_acts_in_training_only_and_follows_its_key(scan):
    model, batch = SMALL.clone(dropout=0.5, scan=scan), tokens()
    variables = make_variables(model)
    assert jnp.array_equal(forward(model, variables, batch), forward(SMALL.clone(scan=scan), variables, batch))
    once, again, other = (
        forward(model, variables, batch, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 1, 2)
    )
    assert jnp.array_equal(once, again)
    assert not jnp.array_equal(once, other)
    assert forward(SMALL, make_variables(SMALL), batch, train=True).shape == (2, 10, 11)
