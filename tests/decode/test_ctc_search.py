"""A wide beam finds the best of all texts with its exact score; one beam is the best path; times follow the path."""

from functools import reduce
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.decode.speech.ctc import CTCSearch, align, best_path, prefix_beam_search
from jaxlm.decode.speech.ngram import NGram
from jaxlm.errors import BadInput

BLANK = 2


def outputs(seed, time=4, size=3):
    logits = np.random.default_rng(seed).normal(size=(time, size)) * 2
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def texts_of(log_probs):
    """Every text with the log-probability of all its paths, and that of its best path."""
    sums, best = {}, {}
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(t for n, t in enumerate(path) if t != BLANK and (n == 0 or path[n - 1] != t))
        total = float(sum(log_probs[time, token] for time, token in enumerate(path)))
        sums[text] = np.logaddexp(sums.get(text, -np.inf), total)
        best[text] = max(best.get(text, (-np.inf, ())), (total, path))
    return sums, best


LANGUAGE = NGram.count([(0, 1), (0, 0, 1), (1,)], order=2, vocab=2)


@pytest.mark.parametrize(("scorer", "weight", "bonus"), [(None, 1.0, 0.0), (LANGUAGE.log_prob, 0.7, 0.3)])
@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_is_the_exact_search(seed, scorer, weight, bonus):
    log_probs = outputs(seed)
    found = prefix_beam_search(log_probs, BLANK, 1000, scorer, weight=weight, bonus=bonus)

    def extra(text):
        if scorer is None:
            return bonus * len(text)
        return bonus * len(text) + weight * sum(scorer(text[:n], next_) for n, next_ in enumerate([*text, None]))

    exact = {text: total + extra(text) for text, total in texts_of(log_probs)[0].items()}
    assert {one.tokens for one in found} == exact.keys()
    for one in found:
        assert one.score == pytest.approx(exact[one.tokens], rel=1e-5)
    assert found[0].tokens == max(exact, key=exact.get)


@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_beam_never_claims_more_than_there_is(seed):
    log_probs = outputs(seed, time=5)
    sums, _ = texts_of(log_probs)
    for beams in (2, 3):
        found = prefix_beam_search(log_probs, BLANK, beams, tokens=2)
        assert len(found) <= beams
        assert all(one.score <= sums[one.tokens] + 1e-5 for one in found)


@pytest.mark.parametrize("seed", range(8))
def test_one_beam_is_the_best_path(seed):
    log_probs = outputs(seed)
    _, best = texts_of(log_probs)
    assert CTCSearch()(log_probs, BLANK) == best_path(log_probs, BLANK) == max(best, key=lambda text: best[text])


@pytest.mark.parametrize("seed", range(8))
def test_times_are_those_of_the_best_path_of_a_text(seed):
    log_probs = outputs(seed, time=5)
    _, best = texts_of(log_probs)
    for text, (_, path) in best.items():
        runs, place = [], 0
        while place < len(path):
            end = place + 1
            while end < len(path) and path[end] == path[place]:
                end += 1
            if path[place] != BLANK:
                runs.append((place, end))
            place = end
        assert align(log_probs, text, BLANK) == runs


def test_a_text_that_needs_more_outputs_has_no_times():
    with pytest.raises(BadInput, match="2 tokens cannot be said in 2 outputs"):
        align(outputs(0, time=2), (0, 0), BLANK)
    with pytest.raises(BadInput, match="cannot be said"):
        align(outputs(0, time=0), (0,), BLANK)
    assert align(outputs(0, time=0), (), BLANK) == []
    assert align(outputs(0, time=2), (), BLANK) == []


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=6), st.integers(1, 4))
def test_the_next_token_or_the_end_has_probability_one(texts, order):
    model = NGram.count(texts, order, 4)
    for prefix in ((), (0,), (3, 1), (2, 2, 2)):
        assert sum(np.exp(model.log_prob(prefix, token)) for token in (0, 1, 2, 3, None)) == pytest.approx(1)
    assert NGram.from_json(model.to_json()) == model


def test_an_ngram_prefers_what_it_has_seen():
    model = NGram.count([(0, 1, 0, 1)] * 5, 2, 3)
    assert model.log_prob((0,), 1) > model.log_prob((0,), 0) > model.log_prob((), 0) - 10
    assert model.log_prob((1,), 0) > model.log_prob((1,), 2)
    seen, unseen = (
        reduce(lambda total, n: total + model.log_prob(text[:n], text[n]), range(4), 0.0)
        for text in ((0, 1, 0, 1), (2, 2, 2, 2))
    )
    assert seen > unseen


def test_a_language_model_changes_what_is_heard():
    log_probs = np.log(np.array([[0.5, 0.49, 0.01]] * 1, np.float32))
    model = NGram.count([(1,)] * 9, 1, 2)
    assert CTCSearch(beams=4)(log_probs, BLANK) == (0,)
    search = CTCSearch(beams=4, order=1, weight=1.0)
    assert search(log_probs, BLANK, search.language_model([np.array([1])] * 9, 2)) == (1,)
    assert model == search.language_model([np.array([1])] * 9, 2)
    assert CTCSearch().language_model([np.array([1])], 2) is None


@pytest.mark.parametrize("fields", [{"beams": 0}, {"tokens": 0}, {"order": -1}, {"order": 2}])
def test_a_search_that_cannot_be_is_refused(fields):
    with pytest.raises(BadInput, match="decode"):
        CTCSearch(**fields)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"order": 1, "vocab": 2, "counts": {"x": 1}}'])
def test_a_damaged_ngram_is_one_line(text):
    with pytest.raises(BadInput, match="damaged"):
        NGram.from_json(text)
