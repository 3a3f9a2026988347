"""Errors of sequences of symbols: the fewest edits by trying all of them, and the nearest of several references."""

import itertools

import numpy as np

from jaxlm.metrics import compute, merge
from jaxlm.metrics.speech import sequence_errors


def fewest(first, second):
    """The fewest edits by the definition: keep a common subsequence of places, and pay for what is between."""
    best = max(len(first), len(second))
    for kept in range(1, min(len(first), len(second)) + 1):
        for a in itertools.combinations(range(len(first)), kept):
            for b in itertools.combinations(range(len(second)), kept):
                ends = zip((-1, *a, len(first)), (-1, *b, len(second)), strict=True)
                gaps = [max(x - u, y - v) - 1 for (u, v), (x, y) in itertools.pairwise(ends)]
                best = min(best, sum(gaps) + sum(first[i] != second[j] for i, j in zip(a, b, strict=True)))
    return best


def test_the_errors_are_the_fewest_edits():
    draw = np.random.default_rng(0)
    for _ in range(60):
        answer, right = (list(draw.choice(["AH", "B", "K"], draw.integers(least, 6))) for least in (0, 1))
        found = compute(sequence_errors([" ".join(answer)], [[" ".join(right)]]))
        assert found == {"sequence_error": answer != right, "symbol_error": fewest(answer, right) / len(right)}


def test_the_nearest_reference_counts():
    answers = ["HH AH L OW", "K AE T S", "R EH D", ""]
    references = [["HH EH L OW", "HH AH L OW"], ["K AE T"], ["R IY D AH N", "R IY D"], ["AA"]]
    found = compute(sequence_errors(answers, references))
    assert found == {"sequence_error": 3 / 4, "symbol_error": (0 + 1 + 1 + 1) / (4 + 3 + 3 + 1)}


def test_parts_are_added_before_they_are_divided():
    answers, references = ["A B", "A", "C C C"], [["A B"], ["A B C D"], ["C"]]
    whole = compute(sequence_errors(answers, references))
    parts = [sequence_errors(answers[:1], references[:1]), sequence_errors(answers[1:], references[1:])]
    assert compute(merge(*parts)) == whole
