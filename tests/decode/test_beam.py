"""Beam search: one beam is greedy, enough beams are exhaustive, scores are those of the whole text, rows are alone."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode import greedy
from jaxlm.decode.generate import NO_STOP, until
from jaxlm.decode.seq2seq import beam_tokens
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.models.t5 import T5
from jaxlm.models.transformer import Transformer

STOP, START = 1, 0
MODELS = {
    "T5": T5(vocab=5, depth=2, width=16, heads=2, hidden=24, head_width=6, buckets=8, reach=10),
    "pre-norm": Transformer(vocab=5, depth=2, width=16, heads=2),
    "post-norm": Transformer(vocab=5, depth=2, width=16, heads=2, pre_norm=False),
    "LSTM": LSTMTextToText(vocab=5, width=16),
}
SOURCES = [[3, 4, 2, 2, 3, 4, 4], [2], [4, 2, 3], [3, 3, 3, 3]]


def make_variables(model, seed=1):
    """Weights that are large enough for uneven probabilities."""
    variables = jax.jit(model.init)(jax.random.key(seed), jnp.ones((1, 3), jnp.int32), jnp.ones((1, 2), jnp.int32))
    return jax.tree.map(lambda x: 2.0 * x, variables)


def padded(sources, width):
    tokens = np.array([row + [0] * (width - len(row)) for row in sources], np.int32)
    segments = np.array([[1] * len(row) + [0] * (width - len(row)) for row in sources], np.int32)
    return tokens, segments


def search(model, variables, sources, beams, *, length=4, slots=4, penalty=1.0, stop=STOP, width=8):
    return beam_tokens(
        model, variables, *padded(sources, width), START, length, stop, beams=beams, slots=slots, penalty=penalty
    )


@partial(jax.jit, static_argnames="model")
def log_probabilities(model, variables, source_1S, targets_NT):
    """The log-probability of every target token, without a cache; [N, T]."""
    given = jnp.pad(targets_NT[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    sources = jnp.broadcast_to(source_1S, (len(targets_NT), source_1S.shape[1]))
    log_p = jax.nn.log_softmax(model.apply(variables, sources, given))
    return jnp.take_along_axis(log_p, targets_NT[..., None], 2)[..., 0]


def every_hypothesis(length, vocab=5):
    """All texts of at most `length` tokens that end with the stop, and those of `length` tokens without one."""
    others = [token for token in range(vocab) if token != STOP]
    for size in range(1, length + 1):
        for words in product(others, repeat=size - 1):
            yield (*words, STOP)
    yield from product(others, repeat=length)


@pytest.mark.parametrize("name", MODELS)
def test_one_beam_is_greedy(name):
    model, variables = MODELS[name], make_variables(MODELS[name])
    found = search(model, variables, SOURCES, 1, length=11, slots=16)
    rows = [row[:size] for row, size in zip(found.tokens[:, 0].tolist(), found.lengths[:, 0].tolist(), strict=True)]
    assert [until(row, STOP) for row in rows] == greedy(model, variables, SOURCES, length=11, start=START, stop=STOP)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_scores_are_log_probabilities_of_the_text_without_a_cache(name, penalty):
    model, variables = MODELS[name], make_variables(MODELS[name])
    found = search(model, variables, SOURCES, 3, penalty=penalty)
    for row, source in enumerate(SOURCES):
        each = np.asarray(log_probabilities(model, variables, np.array([source]), found.tokens[row]))
        sizes = np.asarray(found.lengths[row])
        expected = (each * (np.arange(4) < sizes[:, None])).sum(1) / sizes**penalty
        np.testing.assert_allclose(found.scores[row], expected, rtol=1e-5, atol=1e-6)
        assert found.scores[row].tolist() == sorted(found.scores[row].tolist(), reverse=True)


@pytest.mark.parametrize(("name", "penalty"), [("pre-norm", 0.0), ("pre-norm", 1.0), ("LSTM", 1.0)])
def test_enough_beams_find_the_best_of_all_hypotheses(name, penalty):
    model, variables = MODELS[name], make_variables(MODELS[name])
    length = 3
    texts = list(every_hypothesis(length))
    found = search(model, variables, SOURCES, len(texts), length=length, penalty=penalty)
    targets = np.array([[*text, *[0] * (length - len(text))] for text in texts])
    sizes = np.array(list(map(len, texts)))
    for row, source in enumerate(SOURCES):
        each = np.asarray(log_probabilities(model, variables, np.array([source]), targets))
        scores = (each * (np.arange(length) < sizes[:, None])).sum(1) / sizes**penalty
        best = int(scores.argmax())
        assert tuple(found.tokens[row, 0, : int(found.lengths[row, 0])].tolist()) == texts[best]
        np.testing.assert_allclose(found.scores[row], np.sort(scores)[::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["T5", "LSTM"])
def test_a_row_depends_neither_on_other_rows_nor_on_padding(name):
    model, variables = MODELS[name], make_variables(MODELS[name])
    together = search(model, variables, SOURCES, 3)
    for row, source in enumerate(SOURCES):
        alone = search(model, variables, [source], 3, width=16)
        assert (
            alone.tokens[0, 0].tolist()[: int(alone.lengths[0, 0])]
            == (together.tokens[row, 0].tolist()[: int(together.lengths[row, 0])])
        )
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5)


def test_each_row_has_its_own_length_and_none_is_possible():
    model, variables = MODELS["T5"], make_variables(MODELS["T5"])
    lengths = np.array([4, 0, 2, 3])
    found = search(model, variables, SOURCES, 2, length=lengths, stop=NO_STOP)
    assert found.lengths.max(1).tolist() == lengths.tolist()
    assert not np.isfinite(found.scores[1]).any()
    assert np.isfinite(found.scores[np.array([0, 2, 3])]).all()
