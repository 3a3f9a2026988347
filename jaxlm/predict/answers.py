"""Answer a question with a stretch of its context."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jaxlm.data.protocol import Batch
from jaxlm.data.questions.rows import QuestionRows
from jaxlm.data.questions.windows import Window, characters_of, to_question_windows
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import is_blank
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.specs import load_tokenizer
from jaxlm.decode.spans import AnswerSearch, Scored, Span
from jaxlm.errors import BadInput
from jaxlm.metrics.answers import AnswerScores, WindowAnswer
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.predict.texts import pad_tokens
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn

NAMES = ("question", "context")


class Asked(NamedTuple):
    """A context, the characters of its tokens (int64 [C, 2]), and the windows over it."""

    context: str
    spans: np.ndarray
    windows: Sequence[Window]


@dataclass(frozen=True)
class TokenizeQuestions:
    """Make rows of questions and their contexts, as `jaxlm.data.questions` makes them; a long context is several rows.

    An input is {"question": text, "context": text}, the same as a JSON text, or [question, context].

    Attributes:
        tokenizer: of the run.
        widths: T of the rows, ascending; the last one is the size of a window.
        stride: see `SquadFiles`.
    """

    tokenizer: PretrainedTokenizer
    widths: tuple[int, ...]
    stride: int

    columns: ClassVar[tuple[str, ...]] = NAMES

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield rows of "tokens", "segments" and "types" int32 [T] for each input, or why there are none."""
        for given in inputs:
            try:
                yield self.prepared(*question_and_context(given))
            except BadInput as error:
                yield error

    def prepared(self, question: str, context: str) -> Prepared:
        """Return the rows of a question.

        Raises:
            BadInput: a text without tokens, or a question that leaves no room for its context.
        """
        ids, (tokens, spans) = self.tokenizer.encode(question), self.tokenizer.encode_spans([context])[0]
        for name, found in zip(NAMES, (ids, tokens), strict=True):
            if not len(found):
                raise BadInput(f"an empty {name}: give some words or leave it out")
        windows = to_question_windows(self.tokenizer.frame(True), ids, tokens, self.widths[-1], self.stride)
        return Prepared([self._row(one) for one in windows], Asked(context, spans, windows))

    def _row(self, window: Window) -> Example:
        row = pad_tokens(window.tokens, self.widths)
        return {**row, "types": np.pad(window.types, (0, len(row["tokens"]) - len(window.types)))}


def question_and_context(given: Any) -> tuple[str, str]:
    """Return the two texts of an input.

    Raises:
        BadInput: it has another form, or one of them is empty.
    """
    if isinstance(given, str):
        given = parse_json(given, "the input")
    if isinstance(given, dict):
        given = [given.get(name) for name in NAMES]
    if not isinstance(given, list | tuple) or len(given) != 2 or not all(isinstance(text, str) for text in given):
        raise BadInput('not a question with its context: give {"question": "...", "context": "..."}')
    for name, text in zip(NAMES, given, strict=True):
        if is_blank(text):
            raise BadInput(f"an empty {name}: give some words or leave it out")
    return given[0], given[1]


@dataclass(frozen=True)
class ExtractAnswers:
    """Answer with {"answer": text, "start", "end": its characters in the context, "probability": p}.

    The empty answer has no start and no end. With `top` there is also "answers", a list of the same, the best first.

    Attributes:
        search: for the best answer.
        top: the answers in "answers"; None: none.
    """

    search: AnswerSearch
    top: int | None = None

    options: ClassVar[tuple[str, ...]] = ("top",)

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise BadInput(f"top is {self.top}: it must be at least 1")

    def __call__(self, outputs: Sequence[Example], context: Asked) -> Answer:
        """Return the answer for the logits float32 [T, 2] of each row."""
        windows = [
            Scored(row["logits"], one.first, one.stop, one.shift)
            for row, one in zip(outputs, context.windows, strict=True)
        ]
        found = [to_answer(one, context) for one in self.search.best(windows, self.top or 1)]
        return found[0] if self.top is None else {**found[0], "answers": found}


def to_answer(span: Span, asked: Asked) -> Answer:
    """Return a span as JSON."""
    if span.first is None or span.last is None:
        return {"answer": "", "start": None, "end": None, "probability": span.probability}
    start, end = characters_of(asked.spans, span.first, span.last)
    return {"answer": asked.context[start:end], "start": start, "end": end, "probability": span.probability}


def window_answers(search: AnswerSearch, part: QuestionRows, logits_BT2: np.ndarray, batch: Batch) -> AnswerScores:
    """Return the best answer in each window of a batch of the evaluation, to be scored over all of them.

    Args:
        search: for the best answer.
        part: the questions of the evaluation.
        logits_BT2: of starts and ends.
        batch: of `jaxlm.data.questions`.
    """
    found = []
    for row in np.flatnonzero(batch["mask"]):
        number, shift = int(batch["row"][row]), int(batch["shift"][row])
        places = np.flatnonzero(batch["places"][row])[1:]  # without [CLS]
        window = Scored(logits_BT2[row], int(places[0]) + shift, int(places[-1]) + 1 + shift, shift)
        scores, empty = search.scores([window])
        first, more = divmod(int(scores.argmax()), search.longest)
        question, score = part.questions[number], float(scores[first, more])
        start, end = characters_of(part.spans[number], first, first + more)
        found.append(WindowAnswer(number, score, start, question.context[start:end], empty, question.answers))
    return AnswerScores(tuple(found), search.threshold)


def answerer(logits: LossFn, data: Any, search: AnswerSearch, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that answers questions.

    Args:
        logits: `forward(model, TEXT)` under the transforms that the loss is under.
        data: the `data` of the config, a spec of `jaxlm.data.questions`.
        search: for the best answer.
        run: whose tokenizer.json is read.
    """
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    if not isinstance(tokenizer, PretrainedTokenizer):
        raise BadInput(f"the tokenizer.json of {run.path} has no places of tokens: copy it from a run on the same data")
    names, batch = ("tokens", "segments", "types"), data.eval_batch or data.batch
    examples = tuple(zeros({name: np.zeros(width, np.int32) for name in names}, batch) for width in data.widths)
    preprocess = TokenizeQuestions(tokenizer, data.widths, data.stride)
    return Predictor(preprocess, in_evaluation(logits), ExtractAnswers(search), examples)
