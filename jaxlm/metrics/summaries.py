"""ROUGE of summaries, on the host: the home of rouge-score."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class RougeScores(NamedTuple):
    """ROUGE (Lin 2004): F1 of n-grams or longest common subsequences, by Google's rouge-score with stemming.

    The scores of examples are kept, since the mean is over examples, each of which counts once: it does not depend on
    batches or devices, in any bit.

    Attributes:
        scores: float64 [N, 4], of each example by the names of `ROUGE`, from 0 to 100.
    """

    scores: np.ndarray

    def merge(self, other: "RougeScores") -> "RougeScores":
        """Return the scores of the examples of both."""
        return RougeScores(np.concatenate([self.scores, other.scores]))

    def compute(self) -> dict[str, float]:
        """Return the mean of each score, and "rouge1_ci95": half the width of the 95 % interval of ROUGE-1's mean.

        The interval is that of the normal distribution, for examples drawn at random; NaN for fewer than two.
        """
        count = len(self.scores)
        means = {name: math.fsum(column) / count for name, column in zip(ROUGE, self.scores.T, strict=True)}
        return {**means, "rouge1_ci95": half_width(self.scores[:, 0])}


def half_width(values: np.ndarray) -> float:
    """Return half the width of the 95 % interval of a mean, by the normal distribution; NaN for fewer than two."""
    count = len(values)
    if count < 2:
        return float("nan")
    mean = math.fsum(values) / count
    return 1.96 * math.sqrt(math.fsum((values - mean) ** 2) / (count - 1) / count)


def rouge_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, RougeScores]:
    """Return the scores of summaries, by name."""
    scorer = _scorer()
    rows = [
        scorer.score(_by_lines(reference), _by_lines(answer))
        for answer, reference in zip(answers, references, strict=True)
    ]
    scores = [[100 * row[name].fmeasure for name in ROUGE] for row in rows]
    return {"rouge": RougeScores(np.array(scores, np.float64).reshape(len(rows), len(ROUGE)))}


def lead(text: str, words: int) -> str:
    """Return the first words of a text, and no more than its first sentence: the usual base line of summaries."""
    first = SENTENCE_END.split(text.strip(), maxsplit=1)[0]
    return " ".join(first.split()[:words])


def lead_line(sources: Sequence[str], references: Sequence[str], words: int) -> str:
    """Return a line with the scores of `lead` on these examples."""
    found = rouge_scores([lead(text, words) for text in sources], references)["rouge"].compute()
    scores = ", ".join(f"{name} {found[name]:.2f}" for name in ROUGE)
    return f"base line, the first {words} words of the first sentence: {scores} (rouge1 +- {found['rouge1_ci95']:.2f})"


@lru_cache(maxsize=1)
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), use_stemmer=True)


def _by_lines(text: str) -> str:
    """Return a text with a sentence a line, as rougeLsum reads it."""
    return SENTENCE_END.sub("\n", text.strip())
