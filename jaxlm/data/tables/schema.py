"""The columns of a table as a model reads them: fitted on training rows, kept with a run, applied to any rows.

R rows, N entries of numbers, C columns of categories.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.tables.columns import CategoryColumn, Column, DateColumn, NumberColumn, Scale, fit_column
from jaxlm.data.tables.crosses import cross, crossed_columns, fit_cross
from jaxlm.data.tables.neighbours import NeighbourColumn, Neighbours, fit_neighbours
from jaxlm.data.tables.targets import ClassTarget, NumberTarget
from jaxlm.errors import BadInput

KINDS = {"number": NumberColumn, "date": DateColumn, "category": CategoryColumn}
TARGETS = {"number": NumberTarget, "class": ClassTarget}
COLUMNS = "columns.json"  # the artefact of a run


class EncodedRows(NamedTuple):
    """Rows as arrays.

    Attributes:
        arrays: "numbers" float32 [R, N], and "categories" int32 [R, C] where there are some.
        unknown: column -> bool [R], categories that training did not have.
        filled: column -> bool [R], missing numbers of a column that had none missing in training.
    """

    arrays: dict[str, np.ndarray]
    unknown: dict[str, np.ndarray]
    filled: dict[str, np.ndarray]


@dataclass(frozen=True)
class Schema:
    """What is known of a table: its columns, its target, and how its cells are read.

    Attributes:
        columns: those that a model reads.
        target: what it is asked for.
        markers: cells that mean that there is no value.
        constant: columns that were left out, as they are the same in all training rows.
        neighbours: what is looked up of the nearest training rows.
    """

    columns: tuple[Column, ...]
    target: NumberTarget | ClassTarget
    markers: tuple[str, ...] = ("",)
    constant: tuple[str, ...] = ()
    neighbours: tuple[NeighbourColumn, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the columns that must be there."""
        own = (name for c in self.columns for name in (c.read if isinstance(c, CategoryColumn) else (c.name,)))
        near = (number.name for column in self.neighbours for number in column.numbers)
        return tuple(dict.fromkeys((*own, *near)))

    @property
    def categories(self) -> tuple[CategoryColumn, ...]:
        """Return the columns of categories."""
        return tuple(column for column in self.columns if isinstance(column, CategoryColumn))

    @property
    def vocab(self) -> int:
        """Return how many numbers all categories have together."""
        return sum(column.size for column in self.categories)

    def encode(self, cells: Mapping[str, np.ndarray], places: Sequence[str], *, own: bool = False) -> EncodedRows:
        """Encode rows.

        A category is its number in its column plus the sizes of all columns of categories before, so that all of them
        have one table of vectors.

        Args:
            cells: column -> texts and Nones [R]; others than the schema's are not read.
            places: of the rows, for a message.
            own: whether these are the rows that the schema was fitted on, in their order.

        Raises:
            BadInput: a cell that is not of the kind of its column; names row and column.
        """
        numbers: list[np.ndarray] = [np.zeros((len(places), 0))]
        categories, offset = [], 0
        unknown: dict[str, np.ndarray] = {}
        filled: dict[str, np.ndarray] = {}
        for column in self.columns:
            if isinstance(column, CategoryColumn):
                found = column.encode(cross([cells[name] for name in column.read], column.strip), places)
                categories.append(found.values + np.int32(offset))
                offset += column.size
                unknown |= {} if column.crossed else {column.name: found.flagged}
            else:
                found = column.encode(cells[column.name], places)
                numbers.append(found.values)
                filled[column.name] = found.flagged
        numbers += [column.encode(cells, places, own) for column in self.neighbours]
        arrays = {"numbers": np.concatenate(numbers, 1).astype(np.float32)}
        if categories:
            arrays["categories"] = np.stack(categories, 1)
        return EncodedRows(arrays, unknown, filled)

    def to_json(self) -> str:
        """Return the schema as JSON; floats are written so that they are read again to the bit."""
        columns = [{"kind": _kind(KINDS, column)} | dataclasses.asdict(column) for column in self.columns]
        target = {"kind": _kind(TARGETS, self.target)} | dataclasses.asdict(self.target)
        near = [dataclasses.asdict(column) for column in self.neighbours]
        rest = {"markers": self.markers, "constant": self.constant, "neighbours": near}
        return json.dumps({"columns": columns, "target": target} | rest, indent=1) + "\n"


def _kind(kinds: Mapping[str, type], value: Any) -> str:
    return next(name for name, kind in kinds.items() if isinstance(value, kind))


def parse_schema(text: str, place: str) -> Schema:
    """Return the schema of `Schema.to_json`.

    Raises:
        BadInput: the text is damaged; names its place.
    """
    try:
        found = json.loads(text)
        columns = tuple(_from_dict(KINDS[one.pop("kind")], one) for one in found["columns"])
        target = found["target"]
        near = tuple(_from_dict(NeighbourColumn, one) for one in found["neighbours"])
        target = _from_dict(TARGETS[target.pop("kind")], target)
        return Schema(columns, target, tuple(found["markers"]), tuple(found["constant"]), near)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{place} is damaged: copy it from a run on the same data") from None


def _from_dict(kind: type, found: Mapping[str, Any]) -> Any:
    values = {name: _frozen(value) for name, value in found.items()}
    if kind is DateColumn:
        values["days"] = NumberColumn(**values["days"])
    if kind is NeighbourColumn:
        values["numbers"] = tuple(NumberColumn(**one) for one in values["numbers"])
    return kind(**values)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def fit_schema(
    cells: Mapping[str, np.ndarray],
    places: Sequence[str],
    target: NumberTarget | ClassTarget,
    *,
    scale: Scale,
    neighbours: Sequence[Neighbours] = (),
    drop: Sequence[str] = (),
    categories: Sequence[str] = (),
    crosses: Sequence[str] = (),
    markers: Sequence[str] = ("",),
    **limits: Any,
) -> Schema:
    """Fit the columns of a table on its training rows.

    Args:
        cells: column -> texts and Nones.
        places: of the rows, for a message.
        target: what a model is asked for; its column is not one that it reads.
        scale: see `fit_number`.
        neighbours: what to look up of the nearest rows; for a target that is a number.
        drop: columns to leave out.
        categories: columns of categories whose cells look like something else.
        crosses: see `fit_cross`.
        markers: cells that mean that there is no value.
        **limits: of `fit_category`.

    Raises:
        BadInput: no column is left, or the target is in a cross.
    """
    for crossed in crosses:
        if target.name in crossed_columns(crossed):
            raise BadInput(f"data.crosses has {crossed!r}, and {target.name!r} is what is asked for: take it out")
    names = [name for name in cells if name != target.name and name not in drop]
    fitted = {name: fit_column(name, cells[name], places, scale, name in categories, **limits) for name in names}
    columns = tuple(column for column in fitted.values() if column is not None)
    if not columns:
        raise BadInput(f"the table has no column beside {target.name!r} that differs between rows: give one")
    constant = tuple(name for name, column in fitted.items() if column is None)
    columns += tuple(fit_cross(crossed, cells, places, **limits) for crossed in crosses)
    near: tuple[NeighbourColumn, ...] = ()
    if neighbours and isinstance(target, NumberTarget):
        learnt = target.encode(cells[target.name], places)["target"].astype(np.float64)
        near = tuple(fit_neighbours(spec, cells, places, learnt) for spec in neighbours)
    return Schema(columns, target, tuple(markers), constant, near)
