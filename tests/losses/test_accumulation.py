"""Every loss has the same gradient in one batch and in 2, 4 or 8 micro-batches, however ragged the batch is."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses import (
    TEXT,
    Classification,
    classification,
    ctc,
    dpo,
    masked_language_model,
    next_token,
    token_classification,
)
from jaxlm.metrics import Tags
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.models.lstm import LSTM
from jaxlm.models.mlp import MLP
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.nn.lora import LoRA

ROWS, LENGTH, VOCAB = 8, 10, 17
TAGS = Tags(("O", "B-LOC", "I-LOC"))
BASE = GPT(vocab=VOCAB, depth=1, width=8, heads=2, context=LENGTH)
ENCODER = BERT(vocab=VOCAB, depth=1, width=8, heads=2, context=LENGTH)
ADAPTED = Adapted(BASE, LoRA(rank=2))


def texts(pairs=()):
    """Rows of all lengths, of which one has no target at all and others have few."""
    draw = np.random.default_rng(0)
    shape = (ROWS, *pairs, LENGTH)
    segments = (np.arange(LENGTH) < draw.integers(1, LENGTH + 1, (*shape[:-1], 1))).astype(np.int32)
    mask = segments * (draw.random(shape) < draw.random((*shape[:-1], 1)))
    mask[3] = 0
    tokens = draw.integers(1, VOCAB, (2, *shape)).astype(np.int32)
    return {"tokens": tokens[0], "targets": tokens[1], "segments": segments, "mask": mask.astype(np.float32)}


def labelled(inputs):
    """With a label a row, of weights that are fractions and nought."""
    draw = np.random.default_rng(1)
    weights = draw.choice([0, 0.25, 1, 3], ROWS).astype(np.float32)
    return inputs | {"label": draw.integers(0, 3, ROWS).astype(np.int32), "mask": weights}


def images():
    return {"image": np.random.default_rng(2).normal(size=(ROWS, 2, 3, 1)).astype(np.float32)}


def speech():
    """Recordings of 4 to 32 frames, of which one is too short for its target, and one weighs nothing."""
    draw = np.random.default_rng(4)
    frames, targets = (
        np.array([32, 9, 4, 20, 32, 17, 32, 12], np.int32),
        draw.integers(0, 4, (ROWS, 3)).astype(np.int32),
    )
    features = draw.normal(size=(ROWS, 32, 8)).astype(np.float32) * (np.arange(32) < frames[:, None])[..., None]
    lengths, mask = np.array([3, 1, 3, 2, 0, 3, 3, 1], np.int32), np.float32([1, 1, 1, 0, 1, 1, 1, 1])
    return {"features": features, "frames": frames, "targets": targets, "target_lengths": lengths, "mask": mask}


def tagged():
    return texts() | {"targets": texts()["targets"] % len(TAGS.names)}


def of_texts(model):
    return classification(model, inputs=TEXT)


CASES = {
    "next token": (next_token, BASE, texts),
    "answers alone, with adapters": (next_token, ADAPTED, texts),
    "hidden tokens": (masked_language_model, MaskedLanguageModel(ENCODER), texts),
    "tags": (partial(token_classification, tags=TAGS), TokenClassifier(ENCODER, 3), tagged),
    "classes of texts": (of_texts, Classifier(ENCODER, 3), lambda: labelled(texts())),
    "classes of texts, LSTM": (of_texts, Classifier(LSTM(VOCAB, 8), 3, pool="max"), lambda: labelled(texts())),
    "classes of texts, adapters": (
        of_texts,
        Adapted(Classifier(BASE, 3), LoRA(2, full="^head/")),
        lambda: labelled(texts()),
    ),
    "classes of images": (Classification(0.1, (1, 2, 0.5)), MLP(3, (8,)), lambda: labelled(images())),
    "speech": (ctc, SpeechToTokens(4, BiLSTM(1, 8, 0.0), bands=8, channels=2, dropout=0.0), speech),
    "preferences": (partial(dpo, beta=0.5), ADAPTED, lambda: texts(pairs=(2,))),
}


@cache
def whole(name):
    """The loss's gradient function, what it is given, and what it returns for the whole batch."""
    loss, model, make = CASES[name]
    batch = make()
    first = batch["image"] if "image" in batch else batch["tokens"].reshape(-1, LENGTH) if "tokens" in batch else None
    inputs = (batch["features"], batch["frames"]) if first is None else (first,)
    variables = dict(jax.jit(model.init)(jax.random.key(0), *(x[:1] for x in inputs)))
    params = jax.tree.map(moved, variables.pop("params"))
    grad = steps.grad(loss(model))
    given = (params, variables, batch, jax.random.key(0))
    return grad, given, jax.jit(grad)(*given)


def moved(leaf):
    """Off its start: adapters begin with noughts, beside which other gradients would be nought as well."""
    return leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)


@pytest.mark.parametrize(
    "parts", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 8]
)
@pytest.mark.parametrize("name", CASES)
def test_micro_batches_have_the_gradient_of_the_whole(name, parts):
    grad, given, (expected, metrics, _) = whole(name)
    found, added, kept = jax.jit(steps.accumulate(grad, parts))(*given)
    weight = metrics["loss"].weight
    assert added["loss"].weight == weight > 1
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(expected))
    mean = partial(jax.tree.map, lambda leaf: np.asarray(leaf) / weight)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-6), mean(found), mean(expected))
    jax.tree.map(np.testing.assert_array_equal, kept, given[1])
