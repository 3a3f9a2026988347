"""The LSTM with attention: one token at a time gives the logits of all at once; padding and other rows change none."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.decode.seq2seq import BeamSearch, greedy
from jaxlm.losses import sequence_to_sequence
from jaxlm.models.lstm_text_to_text import LSTMTextToText

VOCAB, END = 17, 0
MODEL = LSTMTextToText(vocab=VOCAB, width=6, hidden=5, depth=2)
SOURCES = [[4, 3, 9], [7], [5, 2, 8, 11, 6]]


def padded(rows, width):
    """Rows as an array, with a token on the padding that must not be read, and their segments."""
    segments = (np.arange(width)[None] < np.array([len(row) for row in rows])[:, None]).astype(np.int32)
    return np.array([row + [13] * (width - len(row)) for row in rows], np.int32), segments


@pytest.fixture(scope="module")
def variables():
    tokens, _ = padded(SOURCES, 5)
    drawn = jax.jit(MODEL.init)(jax.random.key(0), tokens, tokens)
    return jax.tree.map(lambda x: 3 * x, drawn)  # attention that is not almost even


def logits(variables, sources, width, targets, model=MODEL, **options):
    tokens, segments = padded(sources, width)
    return np.asarray(model.apply(variables, tokens, targets, segments=segments, **options))


TARGETS = np.random.default_rng(0).integers(0, VOCAB, (3, 7)).astype(np.int32)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_cache_gives_the_logits_of_the_whole_target(variables, steps):
    expected = logits(variables, SOURCES, 5, TARGETS)
    tokens, segments = padded(SOURCES, 5)
    cache = MODEL.apply(variables, tokens, 99, segments=segments, method="init_cache")
    found = []
    for start in range(0, TARGETS.shape[1], steps):
        part = TARGETS[:, start : start + steps]
        logits_BTV, cache = MODEL.apply(variables, part, cache=cache, method="decode")
        found.append(logits_BTV)
    np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-5, atol=1e-6)


def test_padding_and_other_rows_change_no_logits(variables):
    expected = logits(variables, SOURCES, 5, TARGETS)
    np.testing.assert_allclose(logits(variables, SOURCES, 12, TARGETS), expected, rtol=1e-5, atol=1e-6)
    for row, source in enumerate(SOURCES):
        alone = logits(variables, [source], len(source), TARGETS[row : row + 1])
        np.testing.assert_allclose(alone[0], expected[row], rtol=1e-5, atol=1e-6)


def test_a_token_reads_all_of_the_source_and_no_later_target(variables):
    before = logits(variables, SOURCES, 5, TARGETS)
    later = TARGETS.copy()
    later[:, 4] = (later[:, 4] + 1) % VOCAB
    changed = np.any(logits(variables, SOURCES, 5, later) != before, axis=(0, 2))
    assert changed.tolist() == [False] * 4 + [True] * 3
    for place in range(5):
        other = [*SOURCES[:2], [*SOURCES[2]]]
        other[2][place] = 12
        assert np.any(logits(variables, other, 5, TARGETS)[2, 0] != before[2, 0])


def test_padding_has_no_gradient_and_a_row_of_padding_alone_is_finite(variables):
    tokens, segments = padded([*SOURCES, []], 5)
    targets = np.concatenate([TARGETS, TARGETS[:1]])

    def total(params):
        return (MODEL.apply({"params": params}, tokens, targets, segments=segments)[:3] ** 2).sum()

    value, found = jax.value_and_grad(total)(variables["params"])
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    table = found["encoder"]["embed"]["embedding"]
    assert not np.any(table[13])  # the token on the padding
    assert all(np.any(table[token]) for token in SOURCES[2])


def test_the_gradient_of_a_batch_is_the_sum_of_those_of_its_rows(variables):
    tokens, segments = padded(SOURCES, 5)
    batch = {"tokens": tokens, "source_segments": segments, "targets": TARGETS, "target_segments": np.ones((3, 7), int)}
    batch["target_segments"][1, 2:] = 0
    grad = steps.grad(sequence_to_sequence(MODEL.clone(dropout=0.0), END, 0.1))
    whole, _, _ = grad(variables["params"], {}, batch, jax.random.key(0))
    parts, _, _ = steps.accumulate(grad, 3)(variables["params"], {}, batch, jax.random.key(0))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), parts, whole)


def test_one_beam_is_greedy_and_a_batch_answers_as_its_rows_do(variables):
    together = greedy(MODEL, variables, SOURCES, length=9, start=END, stop=END)
    assert together == [greedy(MODEL, variables, [source], length=9, start=END, stop=END)[0] for source in SOURCES]
    tokens, segments = padded(SOURCES, 5)
    found = np.asarray(BeamSearch(beams=1, ratio=0, extra=9)(MODEL, variables, tokens, segments, END, END))
    for row, expected in zip(found.tolist(), together, strict=True):
        assert row[: len(expected)] == expected
        assert len(expected) == 9 or row[len(expected)] == END


def test_dropout_acts_in_training_only(variables):
    model = MODEL.clone(dropout=0.5)
    plain = logits(variables, SOURCES, 5, TARGETS)
    np.testing.assert_array_equal(logits(variables, SOURCES, 5, TARGETS, model), plain)
    first, second = (
        logits(variables, SOURCES, 5, TARGETS, model, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 2)
    )
    assert not np.array_equal(first, second)


def test_half_precision_is_near_and_its_cache_keeps_the_dtype(variables):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
    tokens, segments = padded(SOURCES, 5)
    found = MODEL.apply(half, tokens, TARGETS, segments=segments)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), logits(variables, SOURCES, 5, TARGETS), atol=0.15)


def test_parameters_have_plain_names(variables):
    shapes = jax.tree.map(np.shape, variables["params"])
    assert set(shapes) == {"encoder", "embed", "decoder"}
    assert shapes["decoder"] == {
        "kernel": (6, 20),
        "feed": (6, 20),
        "recurrent": (5, 20),
        "bias": (20,),
        "show": (5, 6),
        "key": {"kernel": (10, 5)},
        "value": {"kernel": (10, 6)},
        "first": {"kernel": (10, 5), "bias": (5,)},
    }


def test_the_alignment_is_the_share_of_each_source_token_in_what_a_step_reads(variables):
    tokens, segments = padded(SOURCES, 5)
    cache = MODEL.apply(variables, tokens, 99, segments=segments, method="init_cache")
    shares = MODEL.apply(variables, TARGETS, cache=cache, method="alignment")
    assert shares.shape == (3, 7, 5)
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-6)
    assert (np.asarray(shares)[np.broadcast_to(segments[:, None] == 0, shares.shape)] == 0).all()

    def first_logits(values_BSD):
        changed = cache._replace(source=cache.source._replace(values_BSD=values_BSD))
        return MODEL.apply(variables, TARGETS[:, :1], cache=changed, method="decode")[0].sum((0, 1, 2))

    gradient = jax.grad(first_logits)(cache.source.values_BSD)  # of a weighted sum: proportional to the weights
    for row in range(3):
        of_token = np.asarray(gradient[row] @ gradient[row, 0])
        np.testing.assert_allclose(of_token / of_token.sum(), shares[row, 0], rtol=1e-4, atol=1e-6)
