"""What is watched of inputs and answers: a few numbers and categories of each, from the arrays that the model reads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxlm.data.protocol import Data
from jaxlm.data.tables.columns import MISSING, NAMED, UNKNOWN, CategoryColumn
from jaxlm.data.tables.schema import Schema
from jaxlm.drift.sketch import Sketch, Value, sketches_of
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Answer, Example, Predictor
from jaxlm.predict.tables.rows import RestoreNumber, RowClass
from jaxlm.predict.written import DecodeWritten

COUNT = 1000  # examples of a reference
PLAIN = (ClassProbabilities, RowClass, RestoreNumber, DecodeWritten)  # they answer without the raw input
LEAST = 16  # numbers of an array that has a mean worth looking at


def features_of(preprocess: Any, rows: Sequence[Example], answer: Answer | None) -> dict[str, Value]:
    """Return the features of an input and its answer.

    Args:
        preprocess: of the predictor.
        rows: of the input.
        answer: or None, for the input alone.
    """
    found: dict[str, Value] = {}
    if isinstance(schema := getattr(preprocess, "schema", None), Schema):
        found |= _cells(schema, rows[0])
    elif "tokens" in rows[0]:
        found |= _tokens(rows)
    else:
        for name, x in rows[0].items():
            if x.size >= LEAST and x.dtype.kind in "fu":
                found |= {f"{name} mean": float(x.mean()), f"{name} contrast": float(x.std())}
    return found if answer is None else found | _answer(answer)


def _tokens(rows: Sequence[Example]) -> dict[str, Value]:
    """Return the length of a text and one of its tokens, as tokens of one text are not independent."""
    parts = [row["tokens"][row["segments"] > 0] if "segments" in row else row["tokens"] for row in rows]
    tokens = np.concatenate(parts)
    if not len(tokens):
        return {"length": 0.0}
    chosen = tokens[int(tokens.astype(np.uint64).sum()) * 2654435761 % 2**32 * len(tokens) >> 32]
    return {"token": str(chosen)} | ({"length": float(len(tokens))} if "segments" in rows[0] else {})


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


def _answer(answer: Answer) -> dict[str, Value]:
    """Return the class, the probability, the number or the length of an answer."""
    found: dict[str, Value] = {}
    if isinstance(answer.get("label"), str):
        found["answer"] = answer["label"]
    found |= {
        f"answer {name}": float(answer[name]) for name in ("probability", "value") if answer.get(name) is not None
    }
    texts = [answer[name] for name in ("text", "answer") if isinstance(answer.get(name), str)]
    return found | ({"answer length": float(len(texts[0]))} if texts else {})


def reference_of(model: LoadedModel, data: Data, count: int = COUNT) -> dict[str, Sketch]:
    """Return sketches of the features of examples and of the model's answers to them.

    Batches are taken from all of the data, as those are often in order. Where they have not the arrays that the model
    reads, as those of a model that continues texts, there are none.

    Args:
        model: what answers.
        data: of an evaluation.
        count: examples, about.
    """
    predictor, rows = model.predictor, list[dict[str, Value]]()
    program = jax.jit(predictor.apply) if isinstance(predictor.postprocess, PLAIN) else None
    for batch in _spread(data, count):
        names = next((one.keys() for one in predictor.examples if _has(batch, one)), None)
        if names is None:
            return {}
        inputs = {name: np.asarray(batch[name]) for name in names}
        outputs = None if program is None else jax.device_get(program(model.variables, inputs))
        mask = np.asarray(batch.get("mask", np.ones(len(next(iter(inputs.values()))))))
        for place in np.flatnonzero(mask.reshape(len(mask), -1).any(1)):
            row = {name: x[place] for name, x in inputs.items()}
            rows.append(features_of(predictor.preprocess, [row], _answered(predictor, outputs, int(place))))
    return sketches_of(rows) if rows else {}


def _answered(predictor: Predictor, outputs: Mapping[str, Any] | None, place: int) -> Answer | None:
    if outputs is None:
        return None
    return predictor.postprocess([{name: x[place] for name, x in outputs.items()}], None)


def _spread(data: Data, count: int) -> Iterator[Mapping[str, Any]]:
    """Yield batches from all over the data, with about so many rows together."""
    if not len(data):
        return
    size = len(next(iter(data[0].values())))
    wanted = min(len(data), max(1, -(-count // size)))
    yield from (data[int(number)] for number in np.linspace(0, len(data) - 1, wanted).round())


def _has(batch: Mapping[str, Any], example: Mapping[str, Any]) -> bool:
    return all(
        name in batch and (batch[name].shape[1:], batch[name].dtype) == (x.shape[1:], x.dtype)
        for name, x in example.items()
    )
