import dataclasses
import json
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import SetAttributeFrozenModuleError

from jaxlm.errors import BadInput
from jaxlm.models import gpt_shapes
from jaxlm.models.gpt import GPT

SMALL = GPT(vocab=11, depth=2, width=16, heads=4, context=12)
LLAMA = SMALL.clone(kv_heads=2, norm="rms", activation="swiglu", positions="rotary", hidden=24, bias=False, tied=False)
VARIANTS = {
    "gpt2": SMALL,
    "llama": LLAMA,
    "post-norm": SMALL.clone(pre_norm=False),
    "scan": SMALL.clone(scan=True, kv_heads=1),
    "scan llama": LLAMA.clone(scan=True, remat=True),
    "mistral": LLAMA.clone(window=3, head_width=6, attention_bias="qkv"),
}
every_variant = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS.keys())


def tokens(seed=1, batch=2, length=10):
    return jax.random.randint(jax.random.key(seed), (batch, length), 0, SMALL.vocab)


@cache
def make_variables(model):
    """Parameters ten times as large as at the start, so that attention is far from uniform."""
    return jax.tree.map(lambda x: 10 * x, jax.jit(model.init)(jax.random.key(0), tokens()))


@partial(jax.jit, static_argnames=("model", "train"))
def forward(model, variables, batch, train=False, **inputs):
    return model.apply(variables, batch, train=train, **inputs)


def stacked(variables, depth):
    """Unrolled blocks as the scanned model holds them: one tree with a leading layer axis."""
    params = dict(variables["params"])
    blocks = [params.pop(f"block_{layer}") for layer in range(depth)]
    return {"params": {**params, "blocks": jax.tree.map(lambda *x: jnp.stack(x), *blocks)}}


def loss(model, variables, batch):
    return jnp.square(jax.nn.log_softmax(forward(model, variables, batch))).mean()


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


@every_variant
def test_the_initial_variables_are_parameters_alone_and_counted(model):
    variables = jax.eval_shape(model.init, jax.random.key(0), tokens())
    assert set(variables) == {"params"}
    assert sum(x.size for x in jax.tree.leaves(variables)) == model.parameter_count()


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (gpt_shapes.GPT2_SMALL, 124_439_808),
        (gpt_shapes.GPT2_MEDIUM, 354_823_168),
        (gpt_shapes.GPT2_LARGE, 774_030_080),
        (gpt_shapes.GPT2_XL, 1_557_611_200),
        (gpt_shapes.LLAMA_1B, 1_235_814_400),
    ],
)
def test_parameter_counts_equal_the_published_ones(model, count):
    assert model.parameter_count() == count


def test_the_smallest_published_count_is_that_of_the_real_parameters():
    model = gpt_shapes.GPT2_SMALL.clone(scan=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 124_439_808


def test_training_operations_are_six_per_used_parameter_and_attention():
    looked_up = 1024 * 768
    expected = 6 * (124_439_808 - looked_up) + 12 * 12 * 768 * 1024
    assert gpt_shapes.GPT2_SMALL.flops_per_token(1024) == expected
    untied = gpt_shapes.GPT2_SMALL.clone(tied=False)
    assert untied.flops_per_token(1024) == expected


def test_training_operations_are_those_that_the_compiler_counts():
    model = GPT(vocab=64, depth=2, width=128, heads=4, context=32)
    batch = jnp.zeros((4, 32), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    step = jax.jit(jax.grad(lambda variables: loss(model, variables, batch)))
    counted = step.lower(variables).compile().cost_analysis()["flops"]
    assert 0.9 < counted / (model.flops_per_token(32) * batch.size) < 1.3


@pytest.mark.parametrize("scan", [False, True])
def test_parameters_start_as_in_gpt2(scan):
    model = GPT(vocab=64, depth=2, width=128, heads=4, context=32, scan=scan)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    block = params["blocks" if scan else "block_0"]
    for kernel, std in [
        (params["embed"]["embedding"], 0.02),
        (params["position_embed"]["embedding"], 0.02),
        (block["attention"]["qkv"]["kernel"], 0.02),
        (block["attention"]["output"]["kernel"], 0.01),
        (block["feed_forward"]["down"]["kernel"], 0.01),
    ]:
        np.testing.assert_allclose(kernel.std(), std, rtol=0.05)


@every_variant
def test_bfloat16_parameters_give_bfloat16_logits_near_the_float32_ones(model):
    variables = jax.tree.map(lambda x: x.astype(jnp.bfloat16), make_variables(model))
    full = jax.tree.map(lambda x: x.astype(jnp.float32), variables)
    half = forward(model, variables, tokens())
    assert half.dtype == jnp.bfloat16
    exact = forward(model, full, tokens())
    assert jnp.abs(half - exact).mean() < 0.1 * jnp.abs(exact).mean()


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


def test_the_model_is_a_frozen_value():
    model = SMALL.clone()
    with pytest.raises(SetAttributeFrozenModuleError):
        model.depth = 3
    assert model == SMALL
    assert hash(model) == hash(SMALL)
    assert model.clone(depth=3) != SMALL


@every_variant
def test_every_field_survives_json(model):
    fields = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    plain = {name: value for name, value in fields.items() if name not in ("parent", "name")}
    assert GPT(**json.loads(json.dumps(plain))) == model


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"heads": 3}, ["model.heads 3", "model.width 16", "width of 15"]),
        ({"kv_heads": 3}, ["model.kv_heads 3", "model.heads 4"]),
        ({"dropout": 1.0}, ["model.dropout", "less than 1"]),
        ({"dropout": -0.1}, ["model.dropout"]),
        ({"depth": 0}, ["model.depth", "at least 1"]),
        ({"heads": 16, "positions": "rotary"}, ["rotary", "even"]),
    ],
)
def test_contradicting_fields_are_named_with_the_mend(fields, words):
    model = SMALL.clone(**fields)
    with pytest.raises(BadInput) as error:
        model.validate()
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)
    with pytest.raises(BadInput):
        jax.eval_shape(model.init, jax.random.key(0), tokens())


def test_calls_that_cannot_work_are_refused():
    variables = make_variables(SMALL)
    with pytest.raises(BadInput, match=r"13 tokens are longer than model\.context 12"):
        forward(SMALL, variables, tokens(length=13))
    with pytest.raises(BadInput, match="cache"):
        forward(SMALL, variables, tokens(), cache=SMALL.init_cache(2, 12), segments=tokens())
    with pytest.raises(BadInput, match="cache of 4 slots"):
        forward(SMALL, variables, tokens(), cache=SMALL.init_cache(2, 4))
