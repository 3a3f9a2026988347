"""Exact match and F1 are those of SQuAD's script, as lm-evaluation-harness keeps it, on 10,000 random pairs."""

import numpy as np
import pytest

from jaxlm.metrics.answers import answer_f1, answer_match, best_of, normalise_answer

pytestmark = pytest.mark.slow
official = pytest.importorskip("lm_eval.tasks.qasper.metrics")

PIECES = "the The a an AN theatre is's U.S. 12,000 ½ café cafe\u0301 naïve — - , . !? «x» 'tis $5 % dog Dog dogs İx ß"
PARTS = [*PIECES.split(" "), "\u00a0", "_", "the,", "", " ", "\t"]


def drawn(draw):
    """A few random parts, with spaces between most of them."""
    return "".join(PARTS[k] + draw.choice(["", " ", "  "], p=[0.2, 0.7, 0.1]) for k in draw.integers(0, len(PARTS), 6))


def test_ten_thousand_random_pairs():
    draw, scores = np.random.default_rng(0), []
    for _ in range(10_000):
        answer, references = drawn(draw), [drawn(draw) for _ in range(draw.integers(1, 4))]
        if draw.random() < 0.3:
            references[0] = answer.upper() if draw.random() < 0.5 else answer + " " + drawn(draw)[:4]
        for text in (answer, *references):
            assert normalise_answer(text) == official.normalize_answer(text)
        for reference in references:
            expected = official.f1_abstractive([answer], [reference])
            if not normalise_answer(answer) and not normalise_answer(reference):
                expected = 1  # SQuAD 1.1 has 0 here beside an exact match of 1; 2.0 has 1
            assert answer_f1(answer, reference) == pytest.approx(expected, abs=1e-12)
            assert answer_match(answer, reference) == (normalise_answer(answer) == normalise_answer(reference))
            scores.append(expected)
        full = [one for one in references if normalise_answer(one)] or [""]
        assert best_of(answer_f1, answer, references) == max(answer_f1(answer, one) for one in full)
    assert 0 < np.mean(scores) < 1
    assert len(set(scores)) > 20
