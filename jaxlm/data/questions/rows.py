"""Questions and their contexts as rows of tokens.

B batch, T tokens in a row. Batches have "tokens", "segments", "types" and "places" int32 [B, T] (segments are 1, or 0
on padding; places are 1 where an answer may begin or end: the context, and the first token for "no answer"), and
"start" and "end" int32 [B], the places of the first and the last token of the answer, -1 where a window has a part of
it alone; further "shift" int32 [B], a token of the context less its place in the row, "row" int32 [B], the number of
the question in its split, and "mask" float32 [B].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxlm.data.questions.squad import Question
from jaxlm.data.questions.windows import Window, characters_of, to_question_windows, tokens_of
from jaxlm.data.ragged import Ragged, ragged
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class QuestionRows:
    """A split as rows of tokens.

    Attributes:
        rows: the windows.
        questions: what they were made of, by the "row" of a batch.
        spans: for each question the characters of each token of its context, int64 [C, 2].
        counts: what is in it and what was left out, for a line at the start of a run.
        misplaced: where the questions are whose answers are not at their places.
    """

    rows: Ragged
    questions: Sequence[Question]
    spans: Sequence[np.ndarray]
    counts: dict[str, int]
    misplaced: Sequence[str]


def encode_questions(
    tokenizer: PretrainedTokenizer, questions: Sequence[Question], width: int, stride: int, *, train: bool
) -> QuestionRows:
    """Encode questions as rows.

    Args:
        tokenizer: of both texts.
        questions: the questions.
        width: the largest row.
        stride: tokens of a context that a window repeats of the one before.
        train: whether windows without a target are left out.

    Raises:
        BadInput: a question too long for its row, or a text without tokens; or no row has a target.
    """
    contexts = {text: number for number, text in enumerate(dict.fromkeys(one.context for one in questions))}
    encoded = tokenizer.encode_spans(list(contexts))
    asked = tokenizer.encode_all([one.question for one in questions])
    rows: list[tuple[Window, tuple[int, int], int]] = []
    misplaced, cut, widened, all_spans = [], 0, 0, []
    for number, (one, ids) in enumerate(zip(questions, asked, strict=True)):
        context, spans = encoded[contexts[one.context]]
        windows = _windows(tokenizer.frame(True), one, ids, context, width, stride)
        answer = first_answer(one, spans)
        targets = [_target(window, one, answer) for window in windows]
        if answer is not None:
            widened += characters_of(spans, *answer[1]) != answer[0]
            cut += max(targets) <= (0, 0)
        elif one.answers:
            misplaced.append(one.where)
        both = zip(windows, targets, strict=True)
        rows += [(window, target, number) for window, target in both if not train or target[0] >= 0]
        all_spans.append(spans)
    if not rows:
        raise BadInput(f"{questions[0].where}: this and all other answers are at other places: correct answer_start")
    counts = {
        "questions": len(questions),
        "windows": len(rows),
        "tokens": sum(len(window.tokens) for window, *_ in rows),
        "questions without an answer": sum(not one.answers for one in questions),
        "answers not at their places": len(misplaced),
        "answers that end inside a token": widened,
        "answers cut by all windows": cut,
    }
    return QuestionRows(_ragged(rows), questions, all_spans, counts, misplaced)


def _windows(
    frame: Frame, one: Question, question: np.ndarray, context: np.ndarray, width: int, stride: int
) -> list[Window]:
    """Return the windows of a question from its ids and those of its context."""
    if not len(question) or not len(context):
        raise BadInput(f"{one.where}: the {'context' if len(question) else 'question'} has no tokens: correct it")
    try:
        return to_question_windows(frame, question, context, width, stride)
    except BadInput as error:
        raise BadInput(f"{one.where}: {error}") from None


def _ragged(rows: Sequence[tuple[Window, tuple[int, int], int]]) -> Ragged:
    """Return windows, their targets and the numbers of their questions as rows."""
    windows, targets, owners = zip(*rows, strict=True)
    starts, ends = np.array(targets, np.int32).T
    cells = {name: [getattr(window, name) for window in windows] for name in ("tokens", "types", "places")}
    shifts = np.array([window.shift for window in windows], np.int32)
    values = {"start": starts, "end": ends, "shift": shifts, "row": np.array(owners, np.int32)}
    return ragged(cells, {**values, "mask": np.ones(len(windows), np.float32)})


AnswerPlace = tuple[tuple[int, int], tuple[int, int]]  # first character and one past the last; first and last token


def first_answer(question: Question, spans: np.ndarray) -> AnswerPlace | None:
    """Return the first answer of a question that is at its place and has tokens, or None."""
    for number, (text, start) in enumerate(zip(question.answers, question.starts, strict=True)):
        if question.is_at(number) and (tokens := tokens_of(spans, start, start + len(text))) is not None:
            return (start, start + len(text)), tokens
    return None


def _target(window: Window, question: Question, answer: AnswerPlace | None) -> tuple[int, int]:
    """Return the target of a window: [CLS] for a question without an answer, none where the answer is not known."""
    if answer is None:
        return (-1, -1) if question.answers else (0, 0)
    return window.target(*answer[1])
