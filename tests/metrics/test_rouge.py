"""ROUGE is rouge-score's, its mean is over examples, and what it says does not depend on how they were split."""

import math

import numpy as np
import pytest

from jaxlm.metrics import compute, merge
from jaxlm.metrics.summaries import ROUGE, RougeScores, lead, lead_line, rouge_scores

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
ANSWERS = ["Bring papers. Meeting on Friday", "the report", "", "Travel deals for five days only"]
REFERENCES = ["friday meetings. bring the papers", "budget reports", "lunch", "Final five days: travelling deal"]


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (1, 1, 1, 1), (2, 2), (0, 4)])
def test_merged_scores_are_the_means_of_rouge_score(sizes):
    parts, start = [], 0
    for size in sizes:
        parts.append(rouge_scores(ANSWERS[start : start + size], REFERENCES[start : start + size]))
        start += size
    found = compute(merge(*parts))
    scorer = rouge_scorer.RougeScorer(list(ROUGE), use_stemmer=True)
    lines = [[text.replace(". ", ".\n") for text in texts] for texts in (REFERENCES, ANSWERS)]
    rows = [scorer.score(*pair) for pair in zip(*lines, strict=True)]
    for name in ROUGE:
        expected = 100 * math.fsum(row[name].fmeasure for row in rows) / 4
        assert found[name] == pytest.approx(expected, abs=1e-12)
    assert found["rougeLsum"] > found["rougeL"] > 0
    assert found == compute(rouge_scores(ANSWERS, REFERENCES))  # in every bit


def test_the_interval_is_that_of_a_bootstrap():
    values = np.random.default_rng(0).gamma(1.0, 20.0, (400, 1))
    means = [values[np.random.default_rng(seed).integers(0, 400, 400)].mean() for seed in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975])
    found = RougeScores(np.repeat(values, 4, axis=1)).compute()
    assert found["rouge1_ci95"] == pytest.approx((high - low) / 2, rel=0.08)
    assert math.isnan(RougeScores(np.ones((1, 4))).compute()["rouge1_ci95"])


def test_the_base_line_is_the_beginning_of_the_first_sentence():
    text = " We meet at 9.30 on Friday. Please bring papers."
    assert lead(text, 4) == "We meet at 9.30"
    assert lead(text, 40) == "We meet at 9.30 on Friday."
    line = lead_line([text, "x"], ["we meet on friday", "x"], 20)
    assert line.startswith("base line, the first 20 words of the first sentence: rouge1 86.36")
