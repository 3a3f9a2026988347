"""What the specs of tables share; the specs themselves are in `specs`.

B batch. Batches have "numbers" float32 [B, N], "categories" int32 [B, C] where there are some, "mask" float32 [B] in
an evaluation; further "target" and "value" float32 [B] (the target as a model learns it, and in its own units), or
"label" int32 [B].
"""

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.arrays import ArraySource, Examples
from jaxlm.data.order import Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.data.tables.columns import Scale
from jaxlm.data.tables.crosses import crossed_columns
from jaxlm.data.tables.frames import read_frame, require_columns
from jaxlm.data.tables.schema import COLUMNS, Schema, fit_schema
from jaxlm.data.tables.targets import ClassTarget, NumberTarget
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class TablePart:
    """A split as arrays.

    Attributes:
        arrays: by name, see above.
        cells: column -> texts and Nones, as they were read.
        places: of the rows, for a message.
        counts: rows, unknown categories and filled cells, for a line at the start of a run.
    """

    arrays: dict[str, np.ndarray]
    cells: dict[str, np.ndarray]
    places: Sequence[str]
    counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class LoadedTable:
    """Both splits of a table, and what was fitted on the training rows."""

    train: TablePart
    eval: TablePart
    schema: Schema


@dataclass(frozen=True, kw_only=True)
class Table:
    """Spec: rows of a table; what the specs of both kinds of target share.

    Scaling, categories and medians are those of the training rows, in every fold.

    Attributes:
        train_file: .csv (or another ending, read as such), .tsv, .jsonl or .parquet.
        eval_file: for evaluation; not read in a cross-validation.
        folds: of a cross-validation: the training file is split into so many folds, and fold `fold` is evaluated on.
            0: no cross-validation.
        fold: the fold that is left out of training, from 0.
        target: the column to predict.
        columns: names of the columns, for text files whose first line has none.
        skip_rows: lines to leave out at the beginning of the training file.
        eval_skip_rows: the same for the evaluation file.
        missing: cells that mean that there is no value, beside empty ones.
        strip: characters that are taken off both ends of categories and classes; white space always is.
        drop: columns to leave out.
        categories: columns of categories although their cells are numbers, such as a postal code.
        crosses: columns whose cells side by side are the categories of one more column, such as `("education x sex",)`.
        min_count: rows that a category must have in training; rarer ones are trained as the unknown category.
        max_categories: categories that a column may have.
        scale: of numbers: "standard" (mean 0, deviation 1) or "quantile" (to a normal distribution).
        batch: rows in a training batch.
        eval_batch: rows in an evaluation batch; None: as in training.
    """

    train_file: str = "train.csv"
    eval_file: str = "eval.csv"
    folds: int = 0
    fold: int = 0
    target: str = "target"
    columns: tuple[str, ...] = ()
    skip_rows: int = 0
    eval_skip_rows: int = 0
    missing: tuple[str, ...] = ("NA", "NaN", "nan")
    strip: str = ""
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    crosses: tuple[str, ...] = ()
    min_count: int = 1
    max_categories: int = 1000
    scale: Scale = "standard"
    batch: int = 256
    eval_batch: int | None = None

    def fit_target(self, cells: np.ndarray, places: Sequence[str]) -> NumberTarget | ClassTarget:
        """Fit the target on the training rows."""
        raise NotImplementedError

    def strata(self, cells: np.ndarray, places: Sequence[str]) -> np.ndarray | None:
        """Return what every fold has the same shares of, by row, or None."""
        raise NotImplementedError

    def frames(self) -> list[tuple[str, Any]]:
        """Return the name and the cells of the training file, and of the evaluation file where there are no folds."""
        files = [(self.train_file, self.skip_rows)]
        files += [] if self.folds else [(self.eval_file, self.eval_skip_rows)]
        paths = [(Path(name).expanduser(), skip) for name, skip in files]
        return [(str(path), read_frame(path, self.columns, skip, ("", *self.missing))) for path, skip in paths]

    def signature(self) -> Hashable:
        """Return the sizes and times of the files."""
        paths = [Path(name).expanduser() for name in (self.train_file, self.eval_file)]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file())

    def loaded(self) -> LoadedTable:
        """Return both splits, read and encoded once a process.

        Raises:
            BadInput: a file cannot be read, a column is not there, or a cell is not of the kind of its column.
        """
        return _load(dataclasses.replace(self, batch=1, eval_batch=None), self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; `noise` seeds their keys, where they have some."""
        return Shuffled(ArraySource(self.loaded().train.arrays), self.batch, seed, noise)

    def eval(self) -> Examples:
        """Return the evaluation batches: every row exactly once."""
        return Examples(self.loaded().eval.arrays, self.eval_batch or self.batch)

    def example(self) -> tuple[np.ndarray, ...]:
        """Return what a model is initialised with: numbers, and categories where there are some."""
        arrays = self.loaded().train.arrays
        return tuple(np.zeros_like(arrays[name][:1]) for name in ("numbers", "categories") if name in arrays)

    def artefacts(self) -> dict[str, str]:
        """Return columns.json."""
        return {COLUMNS: self.loaded().schema.to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split, and one about the columns."""
        found = self.loaded()
        kinds: dict[str, int] = {}
        for column in found.schema.columns:
            kind = type(column).__name__.removesuffix("Column").lower()
            kinds[kind] = kinds.get(kind, 0) + 1
        lines = [summary_line("train", found.train.counts), summary_line("eval", found.eval.counts)]
        lines.append("columns: " + ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items()))
        if found.schema.constant:
            lines.append(f"left out, as all training rows have the same: {', '.join(found.schema.constant)}")
        return lines

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "rows"

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the table cannot be read, or a model's table of categories (`vocab`) is too small."""
        del repeat
        vocab = self.loaded().schema.vocab
        if vocab > (has := getattr(getattr(model, "features", model), "vocab", vocab)):
            raise BadInput(
                f"the columns have {vocab} categories and the model {has}: set --model.features.vocab {vocab}"
            )


def table_fold(rows: int, strata: np.ndarray | None, folds: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into folds of a cross-validation at random, the same for every seed of a run.

    Args:
        rows: how many.
        strata: what every fold has the same shares of, by row, or None.
        folds: how many.
        fold: the one that is left out, from 0.

    Returns:
        The rows of all other folds, and those of this one, in their order; int64.

    Raises:
        BadInput: `fold` or `folds` is out of range.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    least = rows if strata is None else int(np.bincount(strata).min())
    if not 2 <= folds <= least:
        raise BadInput(f"data.folds is {folds}: give 2 to {least}, or 0 for no folds")
    if not 0 <= fold < folds:
        raise BadInput(f"data.fold is {fold} and data.folds {folds}: give a fold from 0 to {folds - 1}")
    kind = KFold if strata is None else StratifiedKFold
    split = kind(folds, shuffle=True, random_state=0).split(np.zeros(rows), strata)
    return list(split)[fold]


@lru_cache(maxsize=4)
def _load(spec: Table, signature: Hashable) -> LoadedTable:
    """Return the rows of a spec, encoded once a process."""
    del signature
    if not spec.folds and spec.fold:
        raise BadInput(f"data.fold is {spec.fold} and data.folds 0: set --data.folds, at least 2")
    frames = spec.frames()
    for path, frame in frames:
        require_columns(
            path, frame, (spec.target, *spec.drop, *spec.categories, *chain(*map(crossed_columns, spec.crosses)))
        )
    parts = [(frame, [f"{path} {place}" for place in frame.index]) for path, frame in frames]
    if spec.folds:
        (frame, places), target = parts[0], parts[0][0][spec.target].to_numpy()
        split = table_fold(len(frame), spec.strata(target, places), spec.folds, spec.fold)
        parts = [(frame.iloc[rows], [places[row] for row in rows]) for rows in split]
    (cells, places), (held_out, held_places) = [({n: f[n].to_numpy() for n in f}, where) for f, where in parts]
    limits = {"strip": spec.strip, "least": spec.min_count, "most": spec.max_categories}
    schema = fit_schema(
        cells,
        places,
        spec.fit_target(cells[spec.target], places),
        scale=spec.scale,
        neighbours=getattr(spec, "neighbours", ()),
        drop=spec.drop,
        categories=spec.categories,
        crosses=spec.crosses,
        markers=("", *spec.missing),
        **limits,
    )
    require_columns(frames[-1][0], frames[-1][1], schema.names)
    train, evaluation = _part(schema, cells, places, own=True), _part(schema, held_out, held_places, own=False)
    return LoadedTable(train, evaluation, schema)


def _part(schema: Schema, cells: dict[str, np.ndarray], places: Sequence[str], *, own: bool) -> TablePart:
    found = schema.encode(cells, places, own=own)
    counts = {"rows": len(places)}
    texts = {"unknown or rare categories of {!r}": found.unknown, "missing cells of {!r} filled in": found.filled}
    for text, flagged in texts.items():
        counts |= {text.format(name): int(rows.sum()) for name, rows in flagged.items() if rows.any()}
    targets = schema.target.encode(cells[schema.target.name], places)
    return TablePart(found.arrays | targets, cells, places, counts)
