"""What is watched of inputs and answers: a few numbers and categories of each, from the arrays that the model reads."""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlm.data.audio.recordings import to_pcm
from jaxlm.data.tables.columns import MISSING, NAMED, UNKNOWN, CategoryColumn
from jaxlm.data.tables.schema import Schema
from jaxlm.drift.sketch import Value
from jaxlm.drift.sound import sound_features, whole_recording
from jaxlm.predict.continuations import TokenizePrompts
from jaxlm.predict.predictor import Answer, Example

LEAST = 16  # numbers of an array that has a mean worth looking at


def features_of(preprocess: Any, rows: Sequence[Example], answer: Answer | None) -> dict[str, Value]:
    """Return the features of an input and its answer.

    Law: they are a function of the input and its answer, whatever the batch.

    Args:
        preprocess: of the predictor.
        rows: of the input.
        answer: or None, for the input alone.
    """
    found: dict[str, Value] = {}
    if isinstance(schema := getattr(preprocess, "schema", None), Schema):
        found |= _cells(schema, rows[0])
    elif isinstance(preprocess, TokenizePrompts):
        prompt = rows[0]["tokens"][int(rows[0]["start"]) :]
        found |= _tokens(prompt[-(preprocess.context - preprocess.new) :], True)
    elif "token_lengths" in rows[0]:  # a text between two boundaries, which is to be spoken
        found |= _tokens(np.concatenate([row["tokens"][1 : int(row["token_lengths"]) - 1] for row in rows]), True)
        found["speaker"] = preprocess.speakers[int(rows[0]["speaker"])]
    elif "tokens" in rows[0]:
        parts = [row["tokens"][row["segments"] > 0] if "segments" in row else row["tokens"] for row in rows]
        found |= _tokens(np.concatenate(parts), "segments" in rows[0])
    elif "audio" in rows[0]:
        found |= sound_features(whole_recording(rows), preprocess.rate)
    else:
        for name, x in rows[0].items():
            if x.size >= LEAST and x.dtype.kind in "fu":
                found |= {f"{name} mean": float(x.mean()), f"{name} contrast": float(x.std())}
    return found if answer is None else found | _answer(preprocess, rows, answer)


def _tokens(tokens: np.ndarray, counted: bool) -> dict[str, Value]:
    """Return one token of a text, as those of one text are not independent, and its length where that is known."""
    if not len(tokens):
        return {"length": 0.0}
    chosen = tokens[int(tokens.astype(np.uint64).sum()) * 2654435761 % 2**32 * len(tokens) >> 32]
    return {"token": str(chosen)} | ({"length": float(len(tokens))} if counted else {})


def _cells(schema: Schema, row: Example) -> dict[str, Value]:
    """Return the cells of a row, scaled numbers and names of categories."""
    found: dict[str, Value] = {}
    number, category, offset = 0, 0, 0
    for column in schema.columns:
        if isinstance(column, CategoryColumn):
            value = int(row["categories"][category]) - offset
            none = {UNKNOWN: "(unknown)", MISSING: "(missing)"}
            found[column.name] = none[value] if value in none else column.names[value - NAMED]
            category, offset = category + 1, offset + column.size
        else:
            found[column.name] = float(row["numbers"][number])
            number += len(column.entries())
    return found


def _answer(preprocess: Any, rows: Sequence[Example], answer: Answer) -> dict[str, Value]:
    """Return the class, the probability, the number, the length, the sound or the boxes of an answer."""
    found: dict[str, Value] = {}
    if isinstance(answer.get("label"), str):
        found["answer"] = answer["label"]
    for name in ("probability", "value"):
        if answer.get(name) is not None:
            found[f"answer {name}"] = float(answer[name])
    texts = [answer[name] for name in ("text", "answer") if isinstance(answer.get(name), str)]
    if texts and isinstance(preprocess, TokenizePrompts):
        found |= _continued(preprocess, int(rows[0]["length"]), texts[0])
    elif texts:
        found["answer length"] = float(len(texts[0]))
    if "boxes" in answer:
        found |= _boxes(answer)
    if "samples" in answer and "rate" in answer:
        sound = sound_features(to_pcm(np.asarray(answer["samples"], np.float32)), answer["rate"])
        found |= {f"answer {name}": value for name, value in sound.items()}
    return found


def _continued(preprocess: TokenizePrompts, asked: int, text: str) -> dict[str, Value]:
    """Return the tokens of a continuation, and whether it ended by itself ("stop") or was cut ("length").

    Both are those of its first tokens, as many as the export asked for, so that a client that asks for more changes
    nothing; of one that asks for fewer they are not known.
    """
    if asked < preprocess.new:
        return {}
    count = min(len(preprocess.tokenizer.encode(text)), preprocess.new)
    return {"answer length": float(count), "answer end": "length" if count == preprocess.new else "stop"}


def _boxes(answer: Answer) -> dict[str, Value]:
    """Return how many boxes there are, the best score, and class and share of the picture of one of them.

    It is one, as those of one picture are not independent; a hash chooses it.
    """
    boxes = answer["boxes"]
    found: dict[str, Value] = {"answer boxes": float(len(boxes))}
    if not boxes:
        return found
    one = boxes[zlib.crc32(json.dumps(boxes).encode()) % len(boxes)]
    left, top, right, bottom = one["box"]
    area = (right - left) * (bottom - top) / (answer["width"] * answer["height"])
    best = max(float(box["score"]) for box in boxes)
    return found | {"answer class": one["label"], "answer area": float(area), "answer score": best}
