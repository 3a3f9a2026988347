"""A GPT as a value: its counts of parameters and operations, how it starts, JSON, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import SetAttributeFrozenModuleError
from small_gpts import SMALL, every_variant, forward, loss, make_variables, tokens

from jaxlm.errors import BadInput
from jaxlm.models import gpt_shapes
from jaxlm.models.gpt import GPT


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
