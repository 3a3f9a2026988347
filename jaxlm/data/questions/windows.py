"""A question and a stretch of its context as one row of tokens; overlapping windows over a long context.

T tokens in a row, C tokens in a context.
"""

from typing import NamedTuple

import numpy as np

from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.errors import BadInput


class Window(NamedTuple):
    """A row: [CLS] question [SEP] a stretch of the context [SEP], with whatever tokens a tokenizer has for these.

    Attributes:
        tokens: int32 [T].
        types: int32 [T], the token types of the first and the second text.
        first: the first token of the context that is in it.
        stop: one past the last one.
        shift: a token of the context less its place in the row.
    """

    tokens: np.ndarray
    types: np.ndarray
    first: int
    stop: int
    shift: int

    @property
    def places(self) -> np.ndarray:
        """Return where an answer may begin or end: 1 on the context and on the first token; int32 [T].

        The first token, [CLS], stands for "no answer here" (Devlin et al. 2019, section 4.3).
        """
        places = np.zeros(len(self.tokens), np.int32)
        places[self.first - self.shift : self.stop - self.shift] = 1
        places[0] = 1
        return places

    def target(self, first: int, last: int) -> tuple[int, int]:
        """Return the places in the row of the first and the last token of an answer.

        Args:
            first: the answer's first token in the context.
            last: its last one.

        Returns:
            (0, 0), which is [CLS], where the window has nothing of it; (-1, -1) where it has a part of it alone.
        """
        if self.first <= first and last < self.stop:
            return first - self.shift, last - self.shift
        return (0, 0) if last < self.first or self.stop <= first else (-1, -1)


def to_question_windows(
    frame: Frame, question: np.ndarray, context: np.ndarray, width: int, stride: int
) -> list[Window]:
    """Return the rows of a question: one, or overlapping windows over a context that is too long.

    Law: every `stride + 1` tokens of the context that follow each other are together in one window.

    Args:
        frame: the special tokens of a pair.
        question: its ids, int32.
        context: ids of the whole context, int32 [C].
        width: the largest row.
        stride: tokens of the context that a window repeats of the one before.

    Raises:
        BadInput: the question leaves no more than `stride` tokens for the context, where that is longer.
    """
    space = width - len(frame) - len(question)
    if space < 1 or (len(context) > space and space <= stride):
        raise BadInput(
            f"the question has {len(question)} tokens, which leaves {max(space, 0)} of {width} for the context and its "
            f"windows repeat {stride}: shorten the question, or raise the last of data.widths"
        )
    starts = range(0, len(context) - stride, space - stride) if len(context) > space else range(1)
    head = np.concatenate([frame.before, question, frame.between]).astype(np.int32)
    return [_window(frame, head, context, start, min(start + space, len(context))) for start in starts]


def _window(frame: Frame, head: np.ndarray, context: np.ndarray, first: int, stop: int) -> Window:
    tokens = np.concatenate([head, context[first:stop], frame.after]).astype(np.int32)
    types = np.where(np.arange(len(tokens)) < len(head), 0, frame.second).astype(np.int32)
    return Window(tokens, types, first, stop, first - len(head))


def tokens_of(spans: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and the last token that have one of the characters from `start` up to `end`.

    Args:
        spans: of each token, the first of its characters and one past the last; int64 [C, 2].
        start: the first character.
        end: one past the last one.

    Returns:
        None where no token has one.
    """
    inside = np.flatnonzero((spans[:, 1] > start) & (spans[:, 0] < end))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def characters_of(spans: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Return the first character of a token and one past the last of another: what `tokens_of` undoes."""
    return int(spans[first, 0]), int(spans[last, 1])
