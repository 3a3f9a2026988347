"""BERT and its heads against transformers: outputs, padding and types, one update, and back again."""

import jax
import numpy as np
import pytest

from jaxlm.hub import pretrained
from jaxlm.losses import TEXT, answer_spans, classification, next_token
from parity.parity_helpers import (
    assert_close,
    assert_round_trip,
    assert_the_same_adamw_step,
    save,
    tiny,
    torch,
    transformers,
)

pytestmark = pytest.mark.slow

VOCAB, LENGTH = 23, 12
SMALL = {"vocab_size": VOCAB, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 24, "max_position_embeddings": 20}
SMALL |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
VARIANTS = {
    "model": SMALL,
    "model tanh gelu": SMALL | {"hidden_act": "gelu_new", "type_vocab_size": 3},
    "masked": SMALL,
    "masked relu": SMALL | {"hidden_act": "relu", "layer_norm_eps": 1e-2},
    "pretraining": SMALL | {"hidden_act": "gelu_pytorch_tanh"},
    "classes": SMALL,
    "classes five": SMALL | {"num_labels": 5, "hidden_act": "relu", "num_attention_heads": 2},
    "tokens": SMALL | {"num_labels": 7},
    "answers": SMALL | {"type_vocab_size": 2},
}
KINDS = {
    "model": transformers.BertModel,
    "masked": transformers.BertForMaskedLM,
    "pretraining": transformers.BertForPreTraining,
    "classes": transformers.BertForSequenceClassification,
    "tokens": transformers.BertForTokenClassification,
    "answers": transformers.BertForQuestionAnswering,
}
LENGTHS = np.array([12, 7, 1])
REAL = np.arange(LENGTH)[None] < LENGTHS[:, None]


@pytest.fixture(scope="module", params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=str)
def folder(request, tmp_path_factory):
    """Where a tiny model of theirs lies."""
    name, seed = request.param
    config = transformers.BertConfig(**VARIANTS[name])
    return save(tiny(KINDS[name.split()[0]], config, seed), tmp_path_factory.mktemp("hub") / "theirs")


@pytest.fixture
def theirs(folder):
    kind = getattr(transformers, transformers.AutoConfig.from_pretrained(folder).architectures[0])
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_pretrained(folder)


def draw(high, seed, shape=(3, LENGTH), low=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int32)


def tokens():
    """None of them 0, the padding of theirs, whose vector torch does not train as an input."""
    return draw(VOCAB, 0, low=1)


def tensor(array):
    return torch.from_numpy(np.asarray(array)).long()


def outputs(found):
    """Their outputs in our order."""
    if found.get("start_logits") is not None:
        return [torch.stack([found["start_logits"], found["end_logits"]], -1)]
    names = ("last_hidden_state", "pooler_output", "logits", "prediction_logits", "seq_relationship_logits")
    return [found[name] for name in names if found.get(name) is not None]


def test_outputs(ours, theirs):
    found = jax.jit(ours.model.apply)(ours.variables, tokens())
    expected = outputs(theirs(tensor(tokens())))
    jax.tree.map(assert_close, list(found) if isinstance(found, tuple) else [found], expected)


def test_outputs_of_padded_rows_with_types(ours, theirs):
    kinds = theirs.config.type_vocab_size
    found = jax.jit(ours.model.apply)(ours.variables, tokens(), segments=REAL.astype(np.int32), types=draw(kinds, 1))
    expected = outputs(theirs(tensor(tokens()), attention_mask=tensor(REAL), token_type_ids=tensor(draw(kinds, 1))))
    for one, other in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert_close(one, other, where=REAL if other.ndim == 3 else None)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours")


def test_one_adamw_step(folder, ours, theirs):
    batch, inputs = {"tokens": tokens()}, {"input_ids": tensor(tokens())}
    batch["segments"], inputs["attention_mask"] = REAL.astype(np.int32), tensor(REAL)
    kind = type(theirs)
    if kind is transformers.BertForSequenceClassification:
        batch["label"] = draw(theirs.config.num_labels, 2, 3)
        loss, labels = classification(ours.model, inputs=TEXT), tensor(batch["label"])
    elif kind in (transformers.BertForMaskedLM, transformers.BertForTokenClassification):
        classes = VOCAB if kind is transformers.BertForMaskedLM else theirs.config.num_labels
        batch["targets"] = draw(classes, 2)
        batch["mask"] = (REAL & (draw(3, 3) == 0)).astype(np.float32)
        loss, labels = next_token(ours.model), torch.where(tensor(batch["mask"]) > 0, tensor(batch["targets"]), -100)
    elif kind is transformers.BertForQuestionAnswering:  # whose loss leaves no place out, not even padding
        batch = {"tokens": tokens(), "places": np.ones((3, LENGTH), np.int32), "mask": np.ones(3, np.float32)}
        batch |= {"start": draw(4, 2, 3), "end": draw(LENGTH, 3, 3, low=4)}
        ends = {"start_positions": tensor(batch["start"]), "end_positions": tensor(batch["end"])}
        whole = {"input_ids": inputs["input_ids"], **ends}
        assert_the_same_adamw_step(folder, theirs, lambda model: model(**whole).loss, answer_spans(ours.model), batch)
        return
    else:
        pytest.skip("transformers has no loss for the encoder, and one of another weighting for the pair of heads")
    assert_the_same_adamw_step(folder, theirs, lambda model: model(**inputs, labels=labels).loss, loss, batch)
