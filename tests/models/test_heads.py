"""Heads on a toy encoder: pooling against NumPy, padding that leaks nowhere, and the paths of parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import TEXT, Classification
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier, pool_tokens, sentence_vectors
from jaxlm.nn.embed import Embed
from jaxlm.nn.module import Module
from jaxlm.runs.serialise import from_json, to_json

POOLS = ("first", "mean", "max", "last")


class Words(Module):
    """An encoder in which tokens do not see each other; padding is huge, so that a leak is seen."""

    vocab: int = 11
    width: int = 6

    def setup(self):
        self.embed = Embed(self.vocab, self.width)

    def encode(self, tokens, *, segments=None, train=False):
        x = self.embed(tokens)
        return x if segments is None else jnp.where((segments > 0)[..., None], x, 1e9)


class Pooling(Words):
    """The same with a pooler of its own."""

    def setup(self):
        super().setup()
        self.pooler = nn.Dense(self.width)

    def pool(self, x_BTD):
        return jnp.tanh(self.pooler(x_BTD[:, 0]))


def ragged(seed=0, rows=5, length=8, padding=0):
    """Rows of random lengths, the first of them empty and the last of them full."""
    draw = np.random.default_rng(seed)
    lengths = np.append([0], np.append(draw.integers(1, length, rows - 2), length))
    segments = (np.arange(length + padding)[None] < lengths[:, None]).astype(np.int32)
    tokens = draw.integers(1, 11, (rows, length)).astype(np.int32)
    return np.pad(tokens, ((0, 0), (0, padding))) * segments, segments


@pytest.mark.parametrize("how", POOLS)
def test_pooling_is_that_of_the_real_places_alone(how):
    x = np.random.default_rng(0).normal(size=(6, 7, 3)).astype(np.float32)
    real = np.random.default_rng(1).random((6, 7)) < 0.5
    real[2] = False
    found = pool_tokens(jnp.asarray(np.where(real[..., None], x, np.nan)), jnp.asarray(real), how)
    reduce = {"first": lambda v: v[0], "last": lambda v: v[-1], "mean": lambda v: v.mean(0), "max": lambda v: v.max(0)}
    expected = [reduce[how](row[kept]) if kept.any() else np.zeros(3) for row, kept in zip(x, real, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("how", POOLS)
def test_more_padding_and_other_tokens_in_it_change_no_bit(how):
    model = Classifier(Words(), classes=3, pool=how)
    tokens, segments = ragged()
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    expected = model.apply(variables, tokens, segments=segments)
    assert np.isfinite(expected).all()
    for padding in (1, 5, 24):
        tokens, segments = ragged(padding=padding)
        tokens = np.where(segments > 0, tokens, 7)
        np.testing.assert_array_equal(model.apply(variables, tokens, segments=segments), expected)


@pytest.mark.parametrize("how", POOLS)
def test_gradients_do_not_pass_through_padding(how):
    tokens, segments = ragged()
    tokens = np.where(segments > 0, tokens, 0)
    model = Classifier(Words(), classes=3, pool=how)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    grads = jax.grad(lambda p: model.apply({"params": p}, tokens, segments=segments).sum())(params)
    assert np.isfinite(jax.tree.leaves(grads)[0]).all()
    assert not grads["encoder"]["embed"]["embedding"][0].any()  # token 0 stands on padding only


def test_parameters_lie_under_the_encoder_and_the_head():
    tokens, _ = ragged()
    for model, outputs in ((Classifier(Words(), 3), 3), (TokenClassifier(Words(), 3), 3), (SpanClassifier(Words()), 2)):
        params = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
        assert set(params) == {"encoder", "head"}
        assert set(params["encoder"]) == {"embed"}
        assert params["head"]["kernel"].shape == (6, outputs)
        assert from_json(to_json(model)) == model


def test_the_encoders_own_pooler_is_asked_where_it_has_one():
    tokens, segments = ragged()
    model = Classifier(Pooling(), 3, pool="pooler")
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    params = variables["params"]
    assert set(params["encoder"]) == {"embed", "pooler"}
    first = params["encoder"]["embed"]["embedding"][tokens[1:, 0]]
    pooled = np.tanh(first @ params["encoder"]["pooler"]["kernel"])
    found = model.apply(variables, tokens, segments=segments)[1:]
    np.testing.assert_allclose(found, pooled @ params["head"]["kernel"], rtol=1e-5, atol=1e-7)
    with pytest.raises(BadInput, match=r"^model.pool is pooler, which Words has not"):
        Classifier(Words(), 3, pool="pooler").init(jax.random.key(0), tokens)


def test_a_token_classifier_is_the_head_at_each_place():
    tokens, segments = ragged()
    model = TokenClassifier(Words(), 4)
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    found = model.apply(variables, tokens, segments=segments)
    rows = model.apply(variables, tokens.reshape(-1, 1)).reshape(*tokens.shape, 4)
    np.testing.assert_allclose(found[segments > 0], rows[segments > 0], rtol=1e-6)


def test_dropout_acts_in_training_only():
    tokens, segments = ragged()
    for model in (Classifier(Words(), 3, dropout=0.5), TokenClassifier(Words(), 3, dropout=0.5)):
        variables = jax.jit(model.init)(jax.random.key(0), tokens)

        def trained(key, model=model, variables=variables):
            return model.apply(variables, tokens, segments=segments, train=True, rngs={"dropout": key})

        plain = model.clone(dropout=0.0).apply(variables, tokens, segments=segments, train=True)
        np.testing.assert_array_equal(model.apply(variables, tokens, segments=segments), plain)
        assert not np.array_equal(trained(jax.random.key(1)), trained(jax.random.key(2)))


def test_the_loss_of_a_classifier_reads_text_and_its_layout():
    """Segments reach the model by name; an entry that the batch has not is not passed."""
    tokens, segments = ragged()
    model, labels = Classifier(Words(), 3, pool="mean"), np.int32([0, 1, 2, 1, 0])
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    loss = Classification()(model, inputs=TEXT)
    batch = {"tokens": tokens, "segments": segments, "label": labels}
    metrics, _ = loss(params, {}, batch, jax.random.key(0), train=True)
    logits = model.apply({"params": params}, tokens, segments=segments)
    nats = -jax.nn.log_softmax(logits)[np.arange(5), labels]
    assert metrics["loss"].compute() == pytest.approx(float(nats.mean()), rel=1e-6)
    grads, _, _ = steps.grad(loss)(params, {}, batch, jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_sentence_vectors_have_length_one_and_know_no_padding():
    tokens, segments = ragged()
    variables = Classifier(Words(), 3).init(jax.random.key(0), tokens)
    table = np.asarray(variables["params"]["encoder"]["embed"]["embedding"])
    variables = {"params": variables["params"]["encoder"]}
    found = sentence_vectors(Words(), variables, tokens, segments)
    means = np.stack([table[row[real > 0]].mean(0) for row, real in zip(tokens[1:], segments[1:], strict=True)])
    np.testing.assert_allclose(found[1:], means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5)
    assert not found[0].any()  # an empty text
