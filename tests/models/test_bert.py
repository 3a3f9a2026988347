"""BERT: every token sees its own segment and no other, published sizes, and the parts that its heads are made of."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models import bert_shapes
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.runs.serialise import from_json, to_json

SMALL = BERT(vocab=13, depth=2, width=16, heads=4, context=12, types=2)
LENGTH = 8


def draw(seed=1, batch=2, length=LENGTH):
    return jax.random.randint(jax.random.key(seed), (batch, length), 1, SMALL.vocab)


@cache
def make_variables(model):
    """Parameters ten times as large as at the start, so that attention is far from uniform."""
    return jax.tree.map(lambda x: 10 * x, jax.jit(model.init)(jax.random.key(0), draw()))


@partial(jax.jit, static_argnames=("model", "train", "method"))
def apply(model, variables, tokens, train=False, method="encode", **inputs):
    return model.apply(variables, tokens, train=train, method=method, **inputs)


def test_every_token_sees_every_other():
    variables = make_variables(SMALL)
    before = apply(SMALL, variables, draw())
    for t in range(LENGTH):
        after = apply(SMALL, variables, draw().at[:, t].set(draw()[:, t] % 12 + 1))
        assert (jnp.abs(after - before).max(-1) > 1e-4).all()


def test_packed_rows_equal_the_texts_alone_and_padding_is_not_seen():
    variables = make_variables(SMALL)
    first, second = draw(2, 1, 4), draw(3, 1, 5)
    row = jnp.concatenate([first, second, jnp.full((1, 3), 7)], axis=1)
    segments = jnp.array([[1] * 4 + [2] * 5 + [0] * 3])
    types = jnp.array([[0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0]])
    packed = apply(SMALL, variables, row, segments=segments, types=types)
    for begin, end, text in ((0, 4, first), (4, 9, second)):
        alone = apply(SMALL, variables, text, types=types[:, begin:end])
        np.testing.assert_allclose(packed[:, begin:end], alone, atol=1e-4)
    given = apply(SMALL, variables, row, segments=segments, types=types, positions=jnp.array([[*range(4), *range(8)]]))
    np.testing.assert_allclose(given[:, :9], packed[:, :9], atol=1e-5)


def test_types_and_positions_count_and_default_to_zero_and_to_the_place():
    variables = make_variables(SMALL)
    plain = apply(SMALL, variables, draw())
    same = apply(SMALL, variables, draw(), types=jnp.zeros_like(draw()), positions=jnp.arange(LENGTH)[None])
    np.testing.assert_allclose(same, plain, atol=1e-5)
    for change in ({"types": jnp.ones_like(draw())}, {"positions": jnp.arange(LENGTH)[None] + 1}):
        assert jnp.abs(apply(SMALL, variables, draw(), **change) - plain).max() > 1e-2


def test_the_read_out_is_tied_to_the_token_table():
    model = MaskedLanguageModel(SMALL)
    params = make_variables(model)["params"]

    def logits(params):
        return apply(model, {"params": params}, draw(), method="__call__")

    raised = {**params, "head": {**params["head"], "bias": params["head"]["bias"].at[3].add(2.0)}}
    np.testing.assert_allclose(logits(raised) - logits(params), np.eye(13)[[[3] * LENGTH] * 2] * 2, atol=1e-4)
    grads = jax.grad(lambda params: logits(params)[..., 0].sum())(params)["encoder"]["embed"]["embedding"]
    read = np.unique(np.append(draw(), 0))  # token 0 is in no text, and was asked for
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(grads).any(1)), read)


def test_the_next_sentence_head_reads_the_pooled_first_token():
    model = MaskedLanguageModel(SMALL, next_sentence=True)
    variables = make_variables(model)
    logits, follows = apply(model, variables, draw(), method="__call__")
    assert logits.shape == (2, LENGTH, 13)
    params = jax.tree.map(np.asarray, variables["params"])
    hidden, pooled = map(np.asarray, apply(SMALL, {"params": params["encoder"]}, draw(), method="__call__"))
    dense, head = params["encoder"]["pooler"], params["next_sentence"]
    np.testing.assert_allclose(pooled, np.tanh(hidden[:, 0] @ dense["kernel"] + dense["bias"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(follows, pooled @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-4)


def test_every_head_finds_the_encoder_under_the_same_paths():
    plain = set(jax.eval_shape(SMALL.init, jax.random.key(0), draw())["params"])
    heads = {
        Classifier(SMALL, 3, pool="pooler"): set(),
        Classifier(SMALL, 3): {"pooler"},
        TokenClassifier(SMALL, 3): {"pooler"},
        MaskedLanguageModel(SMALL): {"pooler"},
    }
    for model, lacks in heads.items():
        params = jax.eval_shape(model.init, jax.random.key(0), draw())["params"]
        assert set(params) == {"encoder", "head"}
        assert set(params["encoder"]) == plain - lacks
        assert from_json(to_json(model)) == model


def test_recomputed_layers_are_the_same_function():
    variables = make_variables(SMALL)
    states = apply(SMALL, variables, draw())
    weights = jax.random.normal(
        jax.random.key(0), states.shape
    )  # the squares of normed states have the same sum always

    @partial(jax.jit, static_argnums=0)
    @partial(jax.value_and_grad, argnums=1)
    def slope(model, variables):
        return (weights * apply(model, variables, draw())).sum()

    value, grads = slope(SMALL, variables)
    other, other_grads = slope(SMALL.clone(remat=True), variables)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-3), other_grads, grads)


def test_dropout_acts_in_training_only():
    model = SMALL.clone(dropout=0.5)
    variables = make_variables(SMALL)
    np.testing.assert_array_equal(apply(model, variables, draw()), apply(SMALL, variables, draw()))
    one, other = (apply(model, variables, draw(), train=True, rngs={"dropout": jax.random.key(i)}) for i in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (bert_shapes.BERT_TINY, 4_385_920),
        (bert_shapes.BERT_MINI, 11_170_560),
        (bert_shapes.BERT_SMALL, 28_763_648),
        (bert_shapes.BERT_MEDIUM, 41_373_184),
        (bert_shapes.BERT_BASE, 109_482_240),
        (bert_shapes.BERT_LARGE, 335_141_888),
        (bert_shapes.BERT_BASE_CASED, 108_310_272),
        (bert_shapes.MINILM_L6, 22_713_216),
    ],
)
def test_parameter_counts_equal_the_published_ones(model, count):
    assert model.parameter_count() == count


@pytest.mark.parametrize("model", [SMALL, SMALL.clone(hidden=24, types=3), bert_shapes.BERT_MINI])
def test_the_count_is_that_of_the_real_parameters(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), draw())
    assert sum(x.size for x in jax.tree.leaves(shapes)) == model.parameter_count()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "model.heads 5 does not divide model.width 16"),
        ({"depth": 0}, "model.depth is 0: it must be at least 1"),
        ({"types": 0}, "model.types is 0: it must be at least 1"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
        ({"context": 4}, "8 tokens are longer than model.context 4"),
    ],
)
def test_bad_fields_are_one_clear_line(changes, message):
    with pytest.raises(BadInput, match=f"^{message}"):
        jax.eval_shape(SMALL.clone(**changes).init, jax.random.key(0), draw())
