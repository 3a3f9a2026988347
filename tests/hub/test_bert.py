"""BERT in Hugging Face's layout: what its files may hold, and what is refused."""

import json
from functools import cache

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.heads import Classifier, SpanClassifier, TokenClassifier

ENCODER = BERT(vocab=11, depth=1, width=8, heads=2, context=12, dropout=0.1)
MODELS = {
    "encoder": ENCODER,
    "masked": MaskedLanguageModel(ENCODER.clone(activation="relu", types=1)),
    "pre-training": MaskedLanguageModel(ENCODER, next_sentence=True),
    "classes": Classifier(ENCODER, 3, pool="pooler", dropout=0.2),
    "tokens": TokenClassifier(ENCODER.clone(activation="gelu", eps=1e-6), 5),
    "answers": SpanClassifier(ENCODER),
}


@cache
def drawn(model):
    """Random leaves of a model, by path."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(3)
    return {path: draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}


@pytest.fixture
def written(tmp_path):
    """Write a model with random leaves, changed by hand; returns where and the leaves."""

    def call(model, options=(), tensors=lambda found: found):
        leaves = drawn(model)
        pretrained.save_pretrained(tmp_path, model, leaves)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | dict(options)))
        file = tmp_path / "model.safetensors"
        save_file({name: np.ascontiguousarray(x) for name, x in tensors(load_file(file)).items()}, file)
        return tmp_path, leaves

    return call


def assert_reads(path, model, leaves):
    found = pretrained.load_pretrained(path)
    assert jax.tree.map(lambda x: x.shape, found.leaves) == jax.tree.map(lambda x: x.shape, leaves)
    for name, leaf in leaves.items():
        np.testing.assert_array_equal(found.leaves[name], leaf, err_msg=name)
    encoder = getattr(found.model, "encoder", found.model)
    assert encoder == getattr(model, "encoder", model).clone(hidden=32)
    assert type(found.model) is type(model)
    for field in ("classes", "next_sentence", "dropout"):
        assert getattr(found.model, field, None) == getattr(model, field, None)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_what_is_written_is_read_as_the_same_model(written, model):
    path, leaves = written(model)
    assert_reads(path, model, leaves)


def early(tensors):
    """The names of the first files, with a buffer of positions and with copies of tied weights."""
    for now, once in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        tensors = {name.replace(now, once): x for name, x in tensors.items()}
    tensors["bert.embeddings.position_ids"] = np.arange(12)[None]
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    return tensors


def test_the_first_files_are_read_with_all_their_heads(written):
    """bert-base-uncased names BertForMaskedLM, and holds pooler and next-sentence head as well."""
    model = MODELS["pre-training"]
    path, leaves = written(model, {"architectures": ["BertForMaskedLM"]}, early)
    assert_reads(path, model, leaves)


def test_a_pooler_that_no_head_reads_is_left(written):
    model = MODELS["tokens"]
    pooler = {"bert.pooler.dense.weight": np.ones((8, 8), np.float32), "bert.pooler.dense.bias": np.ones(8, np.float32)}
    path, leaves = written(model, tensors=lambda found: found | pooler)
    assert_reads(path, model, leaves)


def test_two_classes_need_no_names(written):
    model = Classifier(ENCODER, 2, pool="pooler", dropout=0.1)
    path, leaves = written(model, {"id2label": None, "label2id": None, "classifier_dropout": None})
    assert_reads(path, model, leaves)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"architectures": ["BertForMultipleChoice"]}, "has architectures"),
        ({"position_embedding_type": "relative_key"}, 'has position_embedding_type "relative_key", which is not'),
        ({"hidden_act": "silu"}, 'has hidden_act "silu", which is not supported'),
        ({"is_decoder": True}, "has is_decoder true, which is not supported"),
        ({"tie_word_embeddings": False}, "has tie_word_embeddings false, which is not supported"),
        ({"num_hidden_layers": 2}, "has no tensor bert.encoder.layer.1.attention.self.query.weight"),
        ({"vocab_size": 12}, "bert.embeddings.word_embeddings.weight is [11, 8]"),
    ],
)
def test_what_is_not_computed_here_is_refused_in_one_line(written, options, told):
    path, _ = written(MODELS["masked"], options)
    with pytest.raises(BadInput) as refusal:
        pretrained.load_pretrained(path)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_tied_weights_that_differ_are_refused(written):
    def untied(tensors):
        return tensors | {"cls.predictions.decoder.weight": np.zeros((11, 8), np.float32)}

    path, _ = written(MODELS["masked"], tensors=untied)
    with pytest.raises(BadInput, match=r"cls.predictions.decoder.weight and bert.embeddings.word_embeddings.weight"):
        pretrained.load_pretrained(path)


def test_a_head_that_theirs_has_not_cannot_be_written(tmp_path):
    model = Classifier(ENCODER, 3, pool="mean", dropout=0.1)
    with pytest.raises(BadInput, match=r"^model.pool is mean, and bert of transformers has pooler"):
        pretrained.save_pretrained(tmp_path, model, drawn(model))
    assert not list(tmp_path.iterdir())
