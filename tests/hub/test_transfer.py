"""Pretrained weights find their place: as they are, under a head, out of one, in stacked layers, or nowhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import optim, steps
from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.transfer import stacked, unrolled
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.runs.weights import by_path
from jaxlm.train.init_from import InitFrom

TOKENS = np.array([[3, 1, 4, 1, 5]], np.int32)
SMALL = GPT(vocab=11, depth=2, width=8, heads=2, context=12, tied=False)
LLAMA = SMALL.clone(kv_heads=1, norm="rms", activation="swiglu", positions="rotary", hidden=12, bias=False)
ENCODER = BERT(vocab=11, depth=1, width=8, heads=2, context=12)


def drawn(model):
    """Random leaves of a model, by path."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(3)
    return {path: draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}


@pytest.fixture
def folder(tmp_path):
    """Write a model with random leaves in their layout; returns both."""

    def call(model):
        leaves = drawn(model)
        pretrained.save_pretrained(tmp_path, model, leaves)
        return str(tmp_path), leaves

    return call


def shapes(model):
    def init(key):
        return steps.init(model, optim.SGD()(1), TOKENS, key)

    return jax.eval_shape(init, jax.random.key(0))


def started(path, model, **options):
    """What a run of a model takes from a path, and the names of all that it has."""
    return InitFrom(path=path, **options).load(shapes(model), model).arrays, by_path(shapes(model)).keys()


def under(leaves):
    return {path.replace("params/", "params/encoder/"): leaf for path, leaf in leaves.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


@pytest.mark.parametrize("model", [SMALL, LLAMA, LLAMA.clone(tied=True)], ids=["gpt2", "llama", "tied"])
def test_a_language_model_takes_all_the_read_out_too(folder, model):
    path, leaves = folder(model)
    assert_same(started(path, model)[0], leaves)


def test_under_a_head_the_read_out_is_left_and_the_head_is_drawn_anew(folder):
    path, leaves = folder(LLAMA)
    found, wanted = started(path, Classifier(LLAMA, 3, pool="last"))
    assert_same(found, under({name: leaf for name, leaf in leaves.items() if "/head/" not in name}))
    assert wanted - found.keys() == {"params/head/kernel", "params/head/bias"}


def test_heads_of_another_task_are_left_and_their_own_are_taken_where_they_are_asked_for(folder):
    path, leaves = folder(MaskedLanguageModel(ENCODER))
    encoder = {name: leaf for name, leaf in leaves.items() if name.startswith("params/encoder/")}
    assert_same(started(path, TokenClassifier(ENCODER, 5))[0], encoder)
    assert_same(started(path, MaskedLanguageModel(ENCODER))[0], leaves)


def test_a_poolers_weights_are_taken_by_who_pools_with_it(folder):
    path, leaves = folder(ENCODER)
    assert_same(started(path, Classifier(ENCODER, 3, pool="pooler"))[0], under(leaves))
    without = {name: leaf for name, leaf in leaves.items() if "/pooler/" not in name}
    assert len(without) == len(leaves) - 2
    assert_same(started(path, Classifier(ENCODER, 3, pool="mean"))[0], under(without))


def test_an_encoder_is_taken_out_from_under_a_head(folder):
    path, leaves = folder(TokenClassifier(ENCODER, 5))
    found, wanted = started(path, ENCODER, fresh="pooler/")
    taken = {name.replace("/encoder/", "/"): leaf for name, leaf in leaves.items() if "/head/" not in name}
    assert_same(found, taken)
    assert wanted - found.keys() == {"params/pooler/kernel", "params/pooler/bias"}


def test_stacked_layers_take_the_same_weights_and_compute_the_same(folder):
    path, leaves = folder(LLAMA)
    scanned = LLAMA.clone(scan=True)
    found, wanted = started(path, scanned)
    assert found.keys() == wanted
    assert_same(unrolled(found), leaves)
    assert_same(stacked(leaves, LLAMA.depth), found)
    one = scanned.apply(pretrained.tree_from_leaves(found), jnp.asarray(TOKENS))
    other = LLAMA.apply(pretrained.tree_from_leaves(leaves), jnp.asarray(TOKENS))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rotary_base": 500.0}, "has rope_parameters"),
        ({"eps": 1e-3}, "has rms_norm_eps 1e-05, and the model here 0.001"),
        ({"window": 4}, "has model_type llama, and the model here mistral"),
        ({"width": 16}, "has head_dim 4, and the model here 8"),
        ({"tied": True}, "has tie_word_embeddings False, and the model here True"),
        ({"positions": "learned"}, "has model_type llama, and the model here gpt2"),
    ],
)
def test_weights_of_another_function_are_refused_even_where_they_would_fit(folder, changes, told):
    path, _ = folder(LLAMA)
    with pytest.raises(BadInput) as refusal:
        started(path, LLAMA.clone(**changes))
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_only_training_knows_and_a_shorter_context_may_differ(folder):
    path, leaves = folder(LLAMA)
    assert_same(started(path, LLAMA.clone(dropout=0.3, remat=True, context=6))[0], leaves)


def test_a_model_of_no_known_layout_is_refused(folder):
    from jaxlm.models.mlp import MLP

    path, _ = folder(SMALL)
    with pytest.raises(BadInput, match="MLP cannot be written in Hugging Face's layout"):
        InitFrom(path=path).load(shapes(SMALL), MLP(hidden=(4,), classes=2))
