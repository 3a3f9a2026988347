"""Inputs that a predictor can always read, made from its own vocabulary and sizes: no example of the training data.

They are kept with an artefact together with their answers, so that whoever opens it can check that it still gives them.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxlm.data.audio.files import encode_wav
from jaxlm.data.images.decode import from_pixels
from jaxlm.data.tables.columns import CategoryColumn, DateColumn
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput
from jaxlm.predict.agents.actions import ReadObservations
from jaxlm.predict.answers import TokenizeQuestions
from jaxlm.predict.continuations import TokenizeChats, TokenizePrompts
from jaxlm.predict.images import ReadImages
from jaxlm.predict.masks import MASK, TokenizeMasked
from jaxlm.predict.predictor import Predictor
from jaxlm.predict.recommendations import FindUsers
from jaxlm.predict.sound.speech import ReadSpeech
from jaxlm.predict.sound.voices import ReadTexts
from jaxlm.predict.tables.rows import EncodeRows
from jaxlm.predict.tags import TokenizeWords
from jaxlm.predict.texts import TokenizeTexts
from jaxlm.predict.vision.boxes import ReadScenes
from jaxlm.predict.vision.pictures import ReadPrompts
from jaxlm.predict.written import TokenizeSources

COUNT = 4
TRIES = 200
PURPOSE = 17  # separates these draws from others of a seed
WORDS = ("a short text", "one two three", "The quick brown fox jumps over the lazy dog.", "hello")


def probe_inputs(predictor: Predictor, count: int = COUNT) -> list[Any]:
    """Return raw inputs that the predictor reads without an error; a function of the predictor alone.

    Args:
        predictor: whose `preprocess` is a class of jaxlm.
        count: how many.

    Raises:
        BadInput: none could be made.
    """
    found = []
    for given in _candidates(predictor.preprocess):
        (prepared,) = predictor.preprocess([given])
        if not isinstance(prepared, BadInput) and prepared.rows and _known(predictor, prepared.rows):
            found.append(given)
        if len(found) == count:
            break
    if not found:
        raise BadInput(
            f"no input could be made that {type(predictor.preprocess).__name__} reads: give some with --probe"
        )
    return found


def _known(predictor: Predictor, rows: Any) -> bool:
    """Return whether rows have sizes of an example, or free ones."""

    def fixed(row: Any, leading: int) -> dict[str, tuple[int, ...]]:
        return {name: x.shape[leading:] for name, x in row.items() if name not in predictor.shapes}

    sizes = [fixed(example, 1) for example in predictor.examples]
    return all(fixed(row, 0) in sizes for row in rows)


def _candidates(preprocess: Any) -> Iterator[Any]:
    """Yield inputs of the kind that a preprocessing class reads; some may be refused."""
    for kind, make in KINDS:
        if isinstance(preprocess, kind):
            for number in range(TRIES):
                try:
                    yield make(preprocess, number, np.random.default_rng([PURPOSE, number]))
                except BadInput:  # tokens that are no text
                    continue
            return
    raise BadInput(f"inputs for {type(preprocess).__name__} cannot be made: give some with --probe")


def _text(tokenizer: AnyTokenizer, number: int, draw: np.random.Generator) -> str:
    """Return a known text, or one of tokens drawn at random, which is one that the tokenizer has the characters of."""
    if number < len(WORDS):
        return WORDS[number]
    return tokenizer.decode(draw.integers(0, tokenizer.vocab, 3 + number % 10).tolist()).strip()


def _texts(preprocess: TokenizeTexts, number: int, draw: np.random.Generator) -> Any:
    texts = [_text(preprocess.tokenizer, number + one, draw) for one in range(1 + preprocess.pair)]
    return texts if preprocess.pair else texts[0]


def _one_text(preprocess: Any, number: int, draw: np.random.Generator) -> str:
    return _text(preprocess.tokenizer, number, draw)


def _masked(preprocess: TokenizeMasked, number: int, draw: np.random.Generator) -> str:
    return f"{_text(preprocess.tokenizer, number, draw)} {MASK}"


def _question(preprocess: TokenizeQuestions, number: int, draw: np.random.Generator) -> dict[str, str]:
    context = " ".join(_text(preprocess.tokenizer, number + one, draw) for one in range(3))
    return {"question": f"{_text(preprocess.tokenizer, number, draw)}?", "context": context}


def _picture(shape: tuple[int, ...], number: int, draw: np.random.Generator) -> bytes:
    """Return a PNG of a few soft shapes."""
    high, wide = shape[0] + 8 * (number % 2), shape[1] + 8 * (number % 3)
    y_H1, x_1W = np.arange(high)[:, None] / high, np.arange(wide)[None] / wide
    planes = []
    for _ in range(3):
        across, down, turn = draw.uniform(1, 4, 3)
        planes.append(127.5 + 127.5 * np.sin(2 * np.pi * (across * x_1W + down * y_H1) + turn))
    image, content = from_pixels(np.stack(planes, -1).astype(np.uint8)), io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _sound(preprocess: ReadSpeech, number: int, draw: np.random.Generator) -> bytes:
    """Return a WAV file of a tone that rises, with some noise."""
    seconds = min(0.4 + 0.2 * (number % 4), 0.9 * preprocess.widths[-1] / preprocess.rate)
    time = np.arange(int(seconds * preprocess.rate)) / preprocess.rate
    tone = 0.5 * np.sin(2 * np.pi * (200 + 100 * number + 300 * time) * time)
    return encode_wav((tone + 0.01 * draw.standard_normal(len(time))).astype(np.float32), preprocess.rate)


def _row(preprocess: EncodeRows, number: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return the median of each number and the first categories; the last of several rows has no value at all."""
    del draw
    schema = preprocess.schema
    near = [one for column in schema.neighbours for one in column.numbers]
    row: dict[str, Any] = {}
    for column in [*near, *schema.columns]:
        if isinstance(column, CategoryColumn):
            known = [name for name in column.names if not column.crossed]
            row |= {name: known[number % len(known)] if known else None for name in column.read if name not in row}
        elif isinstance(column, DateColumn):
            row[column.name] = "2024-02-29"
        else:
            row[column.name] = "true" if column.truth else column.fill
    return dict.fromkeys(row) if number % COUNT == COUNT - 1 else row


def _user(preprocess: FindUsers, number: int, draw: np.random.Generator) -> dict[str, Any]:
    if preprocess.width and number % 2:
        chosen = draw.integers(0, len(preprocess.items), 3)
        return {"history": [preprocess.items[one] for one in chosen]}
    return {"user": preprocess.users[number % len(preprocess.users)]}


KINDS: tuple[tuple[Any, Callable[..., Any]], ...] = (
    (TokenizeTexts, _texts),
    (TokenizeMasked, _masked),
    (TokenizeQuestions, _question),
    ((TokenizeChats, TokenizePrompts, TokenizeWords, TokenizeSources, ReadTexts, ReadPrompts), _one_text),
    (ReadImages, lambda preprocess, *rest: _picture(preprocess.shape, *rest)),
    (ReadScenes, lambda preprocess, *rest: _picture(preprocess.size, *rest)),
    (ReadSpeech, _sound),
    (EncodeRows, _row),
    (FindUsers, _user),
    (ReadObservations, lambda preprocess, number, draw: draw.normal(size=preprocess.shape).tolist()),
)
