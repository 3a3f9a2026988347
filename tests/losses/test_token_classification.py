"""The loss of a tagger against its formula, and what its evaluation counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import token_classification
from jaxlm.metrics import Entities, Tags

TAGS = Tags(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
ROWS, LENGTH = 6, 9


class Table:
    """A model that answers with its parameters, and keeps what it was asked."""

    def __init__(self):
        self.calls = []

    def apply(self, variables, tokens, **options):
        self.calls.append(options)
        return variables["params"]


def draw(seed):
    numbers = np.random.default_rng(seed)
    logits = (2 * numbers.normal(size=(ROWS, LENGTH, 5))).astype(np.float32)
    lengths = numbers.integers(1, LENGTH + 1, (ROWS, 1))
    segments = (np.arange(LENGTH)[None] < lengths).astype(np.int32)
    return logits, {
        "tokens": numbers.integers(0, 99, (ROWS, LENGTH)).astype(np.int32),
        "segments": segments,
        "targets": numbers.integers(0, 5, (ROWS, LENGTH)).astype(np.int32),
        "mask": (segments * numbers.choice([0, 1], (ROWS, LENGTH), p=[0.3, 0.7])).astype(np.float32),
    }


@partial(jax.jit, static_argnames=("train", "strict"))
def measure(logits, batch, train=False, strict=False):
    return token_classification(Table(), TAGS, strict=strict)(logits, {}, batch, jax.random.key(0), train=train)[0]


def test_the_loss_is_the_cross_entropy_of_the_labelled_tokens():
    logits, batch = draw(0)
    exponential = np.exp(logits.astype(np.float64))
    probability = np.take_along_axis(exponential / exponential.sum(-1, keepdims=True), batch["targets"][..., None], -1)
    nats, labelled = -np.log(probability[..., 0]), batch["mask"] > 0
    found = measure(logits, batch)
    assert found["loss"].compute() == pytest.approx(nats[labelled].mean(), rel=1e-5)
    assert found["accuracy"].compute() == pytest.approx((logits.argmax(-1) == batch["targets"])[labelled].mean())
    assert set(measure(logits, batch, train=True)) == {"loss", "accuracy"}


@pytest.mark.parametrize("strict", [False, True])
def test_an_evaluation_counts_the_entities_of_the_likeliest_tags(strict):
    logits, batch = draw(1)
    expected = Entities.from_tags(logits.argmax(-1), batch["targets"], batch["mask"], TAGS, strict=strict)
    jax.tree.map(np.testing.assert_array_equal, measure(logits, batch, strict=strict)["entities"], expected)
    assert expected.true.sum() > 0


def test_parts_of_a_batch_add_up_and_unlabelled_tokens_change_nothing():
    logits, batch = draw(2)
    whole = measure(logits, batch)
    added = steps.merge(*(measure(logits[i::2], {name: x[i::2] for name, x in batch.items()}) for i in range(2)))
    hidden = batch["mask"] == 0
    other = batch | {"targets": np.where(hidden, -100, batch["targets"])}
    changed = measure(np.where(hidden[..., None], 50, logits), other)
    for found in (added, changed):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, whole)
        jax.tree.map(np.testing.assert_array_equal, found["entities"], whole["entities"])


def test_the_model_is_given_what_the_batch_has():
    logits, batch = draw(3)
    model = Table()
    batch["types"] = batch["segments"]
    token_classification(model, TAGS)(jnp.asarray(logits), {}, batch, jax.random.key(0), train=False)
    assert set(model.calls[0]) == {"segments", "types", "train", "rngs"}


def test_a_model_with_another_number_of_classes_is_refused():
    logits, batch = draw(4)
    with pytest.raises(BadInput, match=r"^model.classes is 4 and the data have 5 tags: make them equal$"):
        token_classification(Table(), TAGS)(jnp.asarray(logits[..., :4]), {}, batch, jax.random.key(0), train=False)
