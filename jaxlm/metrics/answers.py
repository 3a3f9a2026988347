"""Scores of short answers against those that people gave: exact match and F1 of words, as SQuAD counts them.

Rajpurkar et al. 2016 (arXiv:1606.05250, section 6.1), with the rules for empty answers of SQuAD 2.0 (2018).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)  # that of ASCII


def normalise_answer(text: str) -> str:
    """Return an answer in lower case, without punctuation and articles, with single spaces between its words."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def answer_match(answer: str, reference: str) -> float:
    """Return 1 where two answers are the same once normalised, else 0."""
    return float(normalise_answer(answer) == normalise_answer(reference))


def answer_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the words of an answer, counted with their multiplicity.

    Where one of the two has no words, 1 if the other has none either, else 0.
    """
    words, wanted = (normalise_answer(text).split() for text in (answer, reference))
    if not words or not wanted:
        return float(words == wanted)
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted))


def best_of(score: Callable[[str, str], float], answer: str, references: Sequence[str]) -> float:
    """Return the largest score of an answer against its references; where there are none, "" is the one.

    References that are empty once normalised do not count, as in SQuAD 2.0.
    """
    return max(score(answer, one) for one in [one for one in references if normalise_answer(one)] or [""])


class WindowAnswer(NamedTuple):
    """The best answer in a window.

    Attributes:
        question: number of the question.
        score: of the answer.
        start: its first character in the context.
        text: the answer.
        empty: the score of there being none.
        references: the answers that people gave.
    """

    question: int
    score: float
    start: int
    text: str
    empty: float
    references: tuple[str, ...]


class AnswerScores(NamedTuple):
    """Exact match and F1, in per cent, means over questions; windows of a question may come in any batch.

    Attributes:
        windows: the best answer in each window.
        threshold: see `jaxlm.decode.spans.AnswerSearch`.
    """

    windows: tuple[WindowAnswer, ...]
    threshold: float | None = None

    def merge(self, other: "AnswerScores") -> "AnswerScores":
        """Return the scores over the windows of both."""
        return self._replace(windows=self.windows + other.windows)

    def answers(self) -> dict[int, tuple[str, tuple[str, ...]]]:
        """Return the answer to each question, of the largest score (of equal ones the first), and its references."""
        found: dict[int, WindowAnswer] = {}
        for one in sorted(self.windows, key=lambda one: (-one.score, one.start, len(one.text))):
            kept = found.setdefault(one.question, one)
            found[one.question] = kept._replace(empty=min(kept.empty, one.empty))
        limit = np.inf if self.threshold is None else self.threshold
        return {key: ("" if one.empty - one.score > limit else one.text, one.references) for key, one in found.items()}

    def compute(self) -> dict[str, float]:
        """Return "exact_match" and "f1", from 0 to 100."""
        pairs = self.answers().values()
        return {
            name: 100 * float(np.mean([best_of(score, *pair) for pair in pairs]))
            for name, score in (("exact_match", answer_match), ("f1", answer_f1))
        }
