"""The loss of hidden tokens: against NumPy and at guessed places only."""

import jax
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses import masked_language_model
from jaxlm.models.bert import BERT, MaskedLanguageModel

MODEL = MaskedLanguageModel(BERT(vocab=17, depth=1, width=8, heads=2, context=10))


def make_batch(rows=8, length=10):
    """Rows of all lengths, some with nothing to guess."""
    draw = np.random.default_rng(0)
    segments = (np.arange(length)[None] < draw.integers(1, length + 1, (rows, 1))).astype(np.int32)
    guessed = segments * (draw.random((rows, length)) < draw.random((rows, 1)) ** 2)
    return {
        "tokens": draw.integers(0, 17, (rows, length)).astype(np.int32) * segments,
        "targets": draw.integers(0, 17, (rows, length)).astype(np.int32),
        "mask": guessed.astype(np.float32),
        "segments": segments,
        "types": draw.integers(0, 2, (rows, length)).astype(np.int32),
    }


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(0), make_batch()["tokens"])["params"]


def test_the_loss_is_the_mean_over_guessed_tokens(params):
    batch = make_batch()
    metrics, _ = masked_language_model(MODEL)(params, {}, batch, jax.random.key(0), train=False)
    inputs = {name: batch[name] for name in ("segments", "types")}
    logits = np.asarray(MODEL.apply({"params": params}, batch["tokens"], **inputs), np.float64)
    nats, right = [], []
    for b, t in np.argwhere(batch["mask"]):
        exponents = np.exp(logits[b, t])
        nats.append(np.log(exponents.sum()) - logits[b, t, batch["targets"][b, t]])
        right.append(logits[b, t].argmax() == batch["targets"][b, t])
    assert metrics["loss"].compute() == pytest.approx(np.mean(nats), rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx(np.mean(right))


def test_what_stood_elsewhere_changes_no_bit(params):
    batch = make_batch()
    other = batch | {"targets": np.where(batch["mask"] > 0, batch["targets"], 3).astype(np.int32)}
    other["tokens"] = np.where(batch["segments"] > 0, batch["tokens"], 5).astype(np.int32)
    grad = jax.jit(steps.grad(masked_language_model(MODEL)))
    one, again = (grad(params, {}, given, jax.random.key(0)) for given in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one, again)
