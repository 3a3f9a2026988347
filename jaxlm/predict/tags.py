"""Answer with the entities of a text, as spans of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.labelled_text.rows import to_pieces
from jaxlm.data.labelled_text.tags import Entity
from jaxlm.data.tokenizers.plain import WORD
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.errors import BadInput
from jaxlm.predict.classes import read_class_names
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.predict.texts import pad_tokens
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn


class Placed(NamedTuple):
    """The words of a text and where their tags are.

    Attributes:
        text: the text; words that were given as a list have one space between them.
        spans: the first character of each word and one past its last.
        places: for each row, the place of each word's first piece, in order.
    """

    text: str
    spans: list[tuple[int, int]]
    places: list[np.ndarray]


@dataclass(frozen=True)
class TokenizeWords:
    """Make rows of the words of texts, as the tagged sentences of training are made.

    An input is a text, whose words are runs of letters and digits and single other signs, or a list of its words. What
    is longer than the widest row goes on in another row, from the first word that has no place there.

    Attributes:
        tokenizer: of the run.
        widths: see `TokenRows`; a row has the narrowest that holds it.
    """

    tokenizer: AnyTokenizer
    widths: tuple[int, ...]

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield rows of "tokens" and "segments" int32 [T] and `Placed` for each input, or why there are none."""
        for given in inputs:
            try:
                yield self.prepared(*spans_of_words(given))
            except BadInput as error:
                yield error

    def prepared(self, text: str, spans: list[tuple[int, int]]) -> Prepared:
        """Return the rows of a text whose words are at these spans; none for no words.

        Raises:
            BadInput: the tokenizer cannot encode a word.
        """
        words = [text[start:end] for start, end in spans]
        ((ids, owners, _),) = to_pieces(self.tokenizer, [words], lambda _, word: f"word {word + 1}")
        frame = self.tokenizer.frame()
        space, first = self.widths[-1] - len(frame), np.diff(owners, prepend=-1) > 0
        rows, places, start = [], [], 0
        while start < len(ids):
            stop = min(start + space, len(ids))
            tokens = np.concatenate([frame.before, ids[start:stop], frame.after]).astype(np.int32)
            rows.append(pad_tokens(tokens, self.widths))
            places.append(len(frame.before) + np.flatnonzero(first[start:stop]))
            start = stop + int(np.argmax(first[stop:])) if first[stop:].any() else len(ids)
        return Prepared(rows, Placed(text, spans, places))


def spans_of_words(given: Any) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of an input, and where each of its words begins and ends.

    Raises:
        BadInput: the input is neither a text nor a list of words.
    """
    if isinstance(given, str):
        return given, [match.span() for match in WORD.finditer(given)]
    if not isinstance(given, (list, tuple)) or not all(isinstance(word, str) and word.strip() for word in given):
        raise BadInput("not a text or a list of words: give one, or name its column")
    ends = np.cumsum([len(word) + 1 for word in given]).tolist()
    return " ".join(given), [(end - 1 - len(word), end - 1) for word, end in zip(given, ends, strict=True)]


@dataclass(frozen=True)
class FindEntities:
    """Answer with {"words": [...], "entities": [{"type", "text", "start", "end"}]}; start and end count characters.

    Attributes:
        names: of the tags, by index.
    """

    names: tuple[str, ...]

    def __call__(self, outputs: Sequence[Example], context: Placed) -> Answer:
        """Return the answer for the logits float32 [T, K] of each row."""
        pairs = zip(outputs, context.places, strict=True)
        tags = [self.names[k] for row, places in pairs for k in row["logits"][places].argmax(-1)]
        found = []
        for kind, first, stop in spans_of(tags):
            start, end = context.spans[first][0], context.spans[stop - 1][1]
            found.append({"type": kind, "text": context.text[start:end], "start": start, "end": end})
        return {"words": [context.text[start:end] for start, end in context.spans], "entities": found}


def spans_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of predicted tags: one that cannot follow the tag before it begins an entity of its own.

    So `metrics.Entities` counts them, as the script `conlleval` does.
    """
    found: list[Entity] = []
    before, kind_before = "O", ""
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if tag != "O":
            if prefix in "BS" or before in "OES" or kind != kind_before:
                found.append((kind, place, place + 1))
            else:
                found[-1] = (kind, found[-1][1], place + 1)
        before, kind_before = prefix, kind
    return found


def tagger(logits: LossFn, data: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that tags words.

    Args:
        logits: `forward(model, TEXT)` under the transforms that the loss is under.
        data: the `data` of the config, a spec of `jaxlm.data.labelled_text`.
        run: whose tokenizer.json and classes.json are read.
    """
    preprocess = TokenizeWords(load_tokenizer(run.artefact("tokenizer.json")), data.widths)
    rows = [pad_tokens(np.zeros(width, np.int32), data.widths) for width in data.widths]
    examples = tuple(zeros(row, data.eval_batch or data.batch) for row in rows)
    return Predictor(preprocess, in_evaluation(logits), FindEntities(read_class_names(run)), examples)
