"""The search for an answer equals a search through all stretches of all windows, and takes the first of equals."""

import numpy as np
import pytest

from jaxlm.decode.spans import AnswerSearch, Scored, Span
from jaxlm.errors import BadInput


def draw_windows(seed, context=17, space=7, stride=3, head=4, padding=0, high=3):
    """Windows over a context, with logits that are small whole numbers, so that many are equal."""
    draw = np.random.default_rng(seed)
    windows = []
    for first in range(0, context - stride, space - stride):
        stop = min(first + space, context)
        logits = draw.integers(-high, high, (head + stop - first + 1, 2)).astype(np.float32)
        logits[0] += 5 * (seed % 2)  # of [CLS]
        windows.append(Scored(np.pad(logits, ((0, padding), (0, 0)), constant_values=99), first, stop, first - head))
    return windows


def every_stretch(windows, longest):
    """{(first, last): score} over all windows."""
    found = {}
    for one in windows:
        for first in range(one.first, one.stop):
            for last in range(first, min(first + longest, one.stop)):
                score = float(one.logits[first - one.shift, 0]) + float(one.logits[last - one.shift, 1])
                found[first, last] = max(score, found.get((first, last), -np.inf))
    return found


@pytest.mark.parametrize("longest", [1, 4, 30])
@pytest.mark.parametrize("threshold", [None, 0.0, 2.5])
def test_it_is_the_search_through_all(longest, threshold):
    emptied = 0
    for seed in range(40):
        windows = draw_windows(seed)
        scores = every_stretch(windows, longest)
        empty = min(float(one.logits[0].sum()) for one in windows)
        total = sum(np.exp(score) for score in scores.values()) + (np.exp(empty) if threshold is not None else 0)
        order = sorted(scores, key=lambda span: (-scores[span], *span))  # the first of equals, then the shortest
        expected = [Span(*span, scores[span], np.exp(scores[span]) / total) for span in order]
        found = AnswerSearch(longest, threshold).best(windows, 5)
        nothing = [one for one in found if one.first is None]
        whole = [one for one in found if one.first is not None]
        np.testing.assert_allclose(whole, expected[: len(whole)], rtol=1e-12)
        if threshold is None:
            assert not nothing
            continue
        assert (found[0].first is None) == (empty - expected[0].score > threshold)
        assert all(one.probability == pytest.approx(np.exp(empty) / total) for one in nothing)
        emptied += found[0].first is None
        assert AnswerSearch(longest, threshold).best(windows)[0] == found[0]
    assert threshold is None or emptied


def test_padding_and_the_order_of_windows_change_nothing():
    for seed in range(10):
        expected = AnswerSearch(5).best(draw_windows(seed), 9)
        assert AnswerSearch(5).best(draw_windows(seed, padding=6), 9) == expected
        assert AnswerSearch(5).best(draw_windows(seed)[::-1], 9) == expected


def test_probabilities_of_all_stretches_sum_to_one():
    found = AnswerSearch(30, 0.0).best(draw_windows(0), 10**6)
    assert sum(one.probability for one in found) == pytest.approx(1)
    assert len({(one.first, one.last) for one in found}) == len(found)


@pytest.mark.parametrize("fields", [{"longest": 0}, {"threshold": np.nan}, {"threshold": np.inf}])
def test_a_search_for_answers_out_of_its_range_is_refused(fields):
    with pytest.raises(BadInput, match=r"decode is AnswerSearch\([^\n]+: longest must be at least 1"):
        AnswerSearch(**fields)
