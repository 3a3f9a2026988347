"""Answer for rows of tables: encode them as in training, and give a number in the target's own units, or a class."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jaxlm.data.protocol import Batch
from jaxlm.data.tables.frames import has_header, read_frame, require_columns, to_cell
from jaxlm.data.tables.schema import COLUMNS, Schema, parse_schema
from jaxlm.data.tables.targets import NumberTarget
from jaxlm.errors import BadInput
from jaxlm.losses import Regression
from jaxlm.metrics.ranking import ClassRanking
from jaxlm.predict.classes import ClassProbabilities, read_class_names
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, Metrics

CHUNK = 4096  # rows encoded at a time


class Noted(NamedTuple):
    """What was not as in training in a row.

    Attributes:
        unknown: columns whose category training did not have (or had rarely).
        filled: columns that had no missing cells in training, and have one here; the median is taken.
    """

    unknown: tuple[str, ...]
    filled: tuple[str, ...]

    def __call__(self, answer: Answer) -> Answer:
        """Return an answer with "unknown" and "filled", where there are some."""
        return answer | {name: list(columns) for name, columns in self._asdict().items() if columns}


@dataclass(frozen=True)
class EncodeRows:
    """Make arrays of rows, each a mapping from names of columns to cells, as those of training are made.

    Columns that the model does not read are not looked at.

    Attributes:
        schema: of the run.
        header: names of the columns of a text file whose first line has none.
        skip_rows: lines to leave out at its beginning.
    """

    schema: Schema
    header: tuple[str, ...] = ()
    skip_rows: int = 0

    options: ClassVar[tuple[str, ...]] = ("skip_rows",)

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield the row of each input, or why there is none."""
        rest = iter(inputs)
        while chunk := list(itertools.islice(rest, CHUNK)):
            read = [self._cells(row) for row in chunk]
            good = [cells for cells in read if not isinstance(cells, BadInput)]
            encoded = iter(self._encode(good))
            for cells in read:
                yield cells if isinstance(cells, BadInput) else next(encoded)

    def _cells(self, row: Any) -> list[str | None] | BadInput:
        if not isinstance(row, Mapping):
            return BadInput(f"a row is a {type(row).__name__}: give an object of cells by the names of their columns")
        if lacking := [name for name in self.schema.names if name not in row]:
            return BadInput(f"the row has no {', '.join(map(repr, lacking))}: give the column, or null for no value")
        try:
            return [to_cell(row[name], repr(name), self.schema.markers) for name in self.schema.names]
        except BadInput as error:
            return error

    def _encode(self, rows: list[list[str | None]]) -> list[Prepared | BadInput]:
        """Encode rows together; where one of them cannot be, each alone."""
        cells = {name: np.empty(len(rows), object) for name in self.schema.names}
        for place, name in enumerate(self.schema.names):
            cells[name][:] = [row[place] for row in rows]
        try:
            found = self.schema.encode(cells, ["the row"] * len(rows))
        except BadInput as error:
            return [error] if len(rows) == 1 else [one for row in rows for one in self._encode([row])]
        prepared: list[Prepared | BadInput] = []
        for row in range(len(rows)):
            noted = Noted(*(tuple(n for n, flags in by.items() if flags[row]) for by in (found.unknown, found.filled)))
            prepared.append(Prepared([{name: x[row] for name, x in found.arrays.items()}], noted))
        return prepared

    def read_file(self, path: Path) -> tuple[list[tuple[str, dict[str, Any]]], tuple[str, ...]]:
        """Read the rows of a .csv, .tsv, .jsonl or .parquet file.

        A text file of a run whose own files have no names of columns may have some in its first line.

        Returns:
            For each row its place and its cells by column, and the columns that are not read.

        Raises:
            BadInput: the file cannot be read, or has not all columns; names it.
        """
        header = () if has_header(path, self.skip_rows, self.schema.names) else self.header
        frame = read_frame(path, header, self.skip_rows, self.schema.markers)
        require_columns(path, frame, self.schema.names)
        cells = frame[list(self.schema.names)].to_numpy()
        rows = [dict(zip(self.schema.names, row, strict=True)) for row in cells]
        extra = tuple(str(name) for name in frame.columns if name not in self.schema.names)
        return [(f"{path} {place}", row) for place, row in zip(frame.index, rows, strict=True)], extra


@dataclass(frozen=True)
class RestoreNumber:
    """Answer with {"value": the number in the target's own units}.

    Attributes:
        loss: whose output it is.
        target: the scaling of the target.
    """

    loss: Regression
    target: NumberTarget

    def __call__(self, outputs: Sequence[Example], context: Any = None) -> Answer:
        """Return the answer for the logits float32 [1] of its row."""
        output = np.float64(outputs[0]["logits"][0])
        answer = {"value": float(self.loss.predicted(output, self.target))}
        return answer if context is None else context(answer)


@dataclass(frozen=True)
class RowClass:
    """Answer with the likeliest class of a row, as `ClassProbabilities` does.

    Attributes:
        names: of the classes, by index.
        top: the classes in "probabilities"; None: all.
    """

    names: tuple[str, ...]
    top: int | None = None

    options: ClassVar[tuple[str, ...]] = ("top",)

    def __call__(self, outputs: Sequence[Example], context: Any = None) -> Answer:
        """Return the answer for the logits float32 [K] of its row."""
        answer = ClassProbabilities(self.names, self.top)(outputs)
        return answer if context is None else context(answer)


def class_ranking(logits_BK: np.ndarray, batch: Batch) -> Metrics:
    """Return the metric of a batch of an evaluation that ranks rows by their class."""
    rows = batch["mask"] > 0
    return {"ranking": ClassRanking(logits_BK[rows].astype(np.float64), batch["label"][rows].astype(np.int64))}


def read_schema(run: RunDirectory) -> Schema:
    """Return the schema of a run on a table.

    Raises:
        BadInput: its file is not there or damaged.
    """
    return parse_schema(run.artefact(COLUMNS), str(run.path / COLUMNS))


def row_predictor(logits: LossFn, config: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run on a table.

    Args:
        logits: `forward(model, TABLE)` under the transforms that the loss is under.
        config: its data are a spec of `jaxlm.data.tables`.
        run: whose columns.json (and classes.json) is read.
    """
    schema, data = read_schema(run), config.data
    preprocess = EncodeRows(schema, data.columns)
    row = schema.encode({name: np.full(1, None) for name in schema.names}, ["no row"]).arrays
    example = zeros({name: x[0] for name, x in row.items()}, data.eval_batch or data.batch)
    if isinstance(schema.target, NumberTarget):
        postprocess: Any = RestoreNumber(config.loss, schema.target)
    else:
        postprocess = RowClass(read_class_names(run))
    return Predictor(preprocess, in_evaluation(logits), postprocess, (example,))
