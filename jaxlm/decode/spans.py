"""Search for the best answer: a stretch of a context, over all windows of it.

T tokens in a row, C tokens in a context, K the most tokens of an answer. All on the host, in float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxlm.errors import BadInput


class Scored(NamedTuple):
    """The logits of a window.

    Attributes:
        logits: of starts and ends, float [T, 2].
        first: the first token of the context that is in it.
        stop: one past the last one.
        shift: a token of the context less its place in the row.
    """

    logits: np.ndarray
    first: int
    stop: int
    shift: int


class Span(NamedTuple):
    """An answer: tokens `first` to `last` of the context, None and None for the empty one."""

    first: int | None
    last: int | None
    score: float
    probability: float


@dataclass(frozen=True)
class AnswerSearch:
    """Spec of the search for the answer with the largest score, the sum of the logits of its start and of its end.

    An answer that is whole in several windows has the largest of its scores. Of equal ones the first is taken, and of
    those that start together the shortest.

    Attributes:
        longest: tokens of an answer at most.
        threshold: None: every question has an answer in its context. Else the empty answer is given where its score,
            that of [CLS], is larger than any other by more than this (SQuAD 2.0; Devlin et al. 2019, section 4.3); of
            several windows the smallest counts.
    """

    longest: int = 30
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.longest < 1 or (self.threshold is not None and not np.isfinite(self.threshold)):
            raise BadInput(
                f"decode is {self}: longest must be at least 1, and threshold a number, or None where every question "
                "has an answer"
            )

    def check(self, unanswered: int) -> None:
        """Raise BadInput where some questions have no answer and every one would be given one.

        Args:
            unanswered: questions of the evaluation that have no answer.
        """
        if unanswered and self.threshold is None:
            raise BadInput(
                f"{unanswered} questions have no answer, and decode.threshold None gives each of them one: set "
                "--decode.threshold 0.0"
            )

    def scores(self, windows: Iterable[Scored]) -> tuple[np.ndarray, float]:
        """Return the score of every stretch of the context, and of the empty answer.

        Args:
            windows: of one question; together they hold the whole context.

        Returns:
            float64 [C, K]: [i, k] is the stretch from token i to token i + k; minus infinity where no window holds it.
        """
        windows = list(windows)
        size = max(one.stop for one in windows)
        found = np.full((size, self.longest), -np.inf)
        for one in windows:
            starts, ends = one.logits[one.first - one.shift : one.stop - one.shift].T.astype(np.float64)
            part = found[one.first : one.stop]
            for more in range(min(self.longest, len(starts))):
                count = len(starts) - more
                np.maximum(part[:count, more], starts[:count] + ends[more:], out=part[:count, more])
        return found, min(float(one.logits[0].astype(np.float64).sum()) for one in windows)

    def best(self, windows: Iterable[Scored], count: int = 1) -> list[Span]:
        """Return the best answers, the one to give first.

        Their probabilities are a softmax of the scores of all stretches of at most `longest` tokens, and of the empty
        answer where there may be none.

        Args:
            windows: of one question.
            count: how many at most.
        """
        scores, empty = self.scores(windows)
        flat = scores.ravel()
        order = np.argsort(-flat, kind="stable")[:count]
        order = order[np.isfinite(flat[order])]
        may_be_empty = self.threshold is not None
        top = max(float(flat[order[0]]), empty if may_be_empty else -np.inf)
        total = np.exp(flat - top).sum() + (np.exp(empty - top) if may_be_empty else 0.0)
        spans = [
            Span(int(at // self.longest), int(at // self.longest + at % self.longest), float(flat[at]), 0.0)
            for at in order
        ]
        if self.threshold is not None:
            place = 0 if empty - spans[0].score > self.threshold else sum(one.score >= empty for one in spans[1:]) + 1
            spans.insert(place, Span(None, None, empty, 0.0))
        return [one._replace(probability=float(np.exp(one.score - top) / total)) for one in spans[:count]]
