"""The loss of all pairs of a batch, under every placement, and the scores of retrieval."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import contrastive
from jaxlm.metrics.retrieval import Retrieval
from jaxlm.models.bert import BERT
from jaxlm.models.clip import CLIP
from step_helpers import PLACES, assert_close, everywhere

MODEL = CLIP(BERT(vocab=9, depth=1, width=8, heads=2, context=3), widths=(4,), width=6)
TOKENS = jnp.array([[1, 2, 0], [3, 0, 0], [1, 2, 5], [4, 4, 4], [5, 0, 0], [6, 7, 0], [3, 0, 0], [8, 1, 0]])
BATCH = {
    "image": jax.random.normal(jax.random.key(1), (8, 4, 4, 1)),
    "tokens": TOKENS,
    "segments": jnp.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]]),
    "mask": jnp.array([1.0, 1, 1, 1, 1, 0, 1, 1]),
}


@pytest.fixture(scope="module")
def params():
    found = MODEL.init(jax.random.key(0), *(BATCH[name] for name in ("image", "tokens", "segments")))["params"]
    return {**found, "bias": jnp.float32(-0.5)}


def test_it_is_the_sum_over_pairs_written_out(params):
    metrics, _ = contrastive(MODEL)(params, {}, BATCH, None, train=False)
    found = MODEL.apply({"params": params}, BATCH["image"], BATCH["tokens"], BATCH["segments"])
    captions = [tuple(np.array(row)[np.array(s) > 0]) for row, s in zip(TOKENS, BATCH["segments"], strict=True)]
    total, right, real = 0.0, 0, [0, 1, 2, 3, 4, 6, 7]
    for i in real:
        logits = {j: float(found.scale * found.image[i] @ found.caption[j] + found.bias) for j in real}
        total += sum(np.log1p(np.exp(-x if captions[i] == captions[j] else x)) for j, x in logits.items())
        right += captions[max(logits, key=logits.get)] == captions[i]
    np.testing.assert_allclose(metrics["loss"].compute(), total / 7, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"].compute(), right / 7, rtol=1e-6)
    assert captions[0] == captions[2]  # a word at a place of padding makes no other caption
    assert captions[1] == captions[6]


@everywhere
def test_devices_change_nothing(name, params):
    """Images meet the captions of all devices, and each caption has the gradient of all images."""
    place, tx = PLACES[name], optax.sgd(0.1)
    step = place.compile(steps.update(place.reduce(steps.grad(contrastive(MODEL, place.gather))), tx), donate=False)
    state = place.init(lambda key: steps.new_state(params, tx, key), jax.random.key(0))
    state, metrics = step(state, place.put(jax.tree.map(np.asarray, BATCH)))
    alone = steps.update(steps.grad(contrastive(MODEL)), tx)
    expected, whole = jax.jit(alone)(steps.new_state(params, tx, jax.random.key(0)), BATCH)
    assert_close(place.fetch(state).params, expected.params, 1e-4)
    np.testing.assert_allclose(metrics["loss"].total, whole["loss"].total, rtol=1e-5)


def test_retrieval_of_constant_random_and_exact_vectors():
    random = np.random.default_rng(0)
    words = np.repeat(np.arange(10), 3)[:, None]
    exact = np.repeat(np.eye(10), 3, axis=0)
    found = Retrieval(exact, exact, words).compute()
    assert {name: found[name] for name in ("caption_at_1", "image_at_1")} == {"caption_at_1": 1.0, "image_at_1": 1.0}
    assert found["caption_at_1_by_chance"] == found["image_at_1_by_chance"] == pytest.approx(0.1)
    constant = Retrieval(np.ones((30, 4)), np.ones((30, 4)), words).compute()
    assert constant["caption_at_5"] == constant["image_at_5"] == 0  # ties are lost
    diverged = Retrieval(np.full((30, 4), np.nan), np.full((30, 4), np.nan), words).compute()
    assert diverged["caption_at_5"] == diverged["image_at_5"] == 0
    captions = np.repeat(random.normal(size=(10, 8)), 3, axis=0)
    noise = [Retrieval(random.normal(size=(30, 8)), captions, words).compute()["caption_at_5"] for _ in range(40)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.05)


def test_retrieval_does_not_depend_on_batches():
    random = np.random.default_rng(1)
    image, caption = random.normal(size=(2, 12, 4))
    words = np.arange(12)[:, None] // 2
    whole = Retrieval(image, caption, words)
    parts = [Retrieval(image[at], caption[at], words[at]) for at in (slice(0, 5), slice(5, 12))]
    assert parts[0].merge(parts[1]).compute() == whole.compute()
