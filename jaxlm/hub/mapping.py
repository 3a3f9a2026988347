"""One table per model says where each of their tensors lies here; it is read in both directions.

A table is a tuple of rows. A row names a tensor of theirs, the leaf of ours, and how the axes of theirs are put in our
order. Several tensors of one row are parts of one leaf here, joined along its last axis (queries, keys and values).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import Tensors

Leaves = dict[str, Any]  # "params/..." and "batch_stats/..." -> array

KEEP = None  # the axes of theirs are ours
LINEAR = (1, 0)  # torch.nn.Linear: [out, in] -> [in, out]
CONV = (2, 3, 1, 0)  # torch.nn.Conv2d: [out, in, height, width] -> [height, width, in, out]


@dataclass(frozen=True)
class Row:
    """Where one leaf of ours comes from.

    theirs: the name of a tensor, or of several that are joined along our last axis, as `parts` divide it.
    ours: the path of the leaf: of a parameter, or from the collection on where it is "batch_stats/...".
    axes: the axes of theirs in our order.
    shape: of theirs, where it is no permutation of ours; the elements then lie in the order that `axes` gives.
    """

    theirs: str | tuple[str, ...]
    ours: str
    axes: tuple[int, ...] | None = KEEP
    parts: tuple[int, ...] = (1,)
    shape: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    @property
    def path(self) -> str:
        """Our path with its collection."""
        return self.ours if self.ours.startswith("batch_stats/") else f"params/{self.ours}"

    def numbered(self, *index: int) -> "Row":
        """The row with numbers in the place of its {}."""
        names = tuple(name.format(*index) for name in self.names)
        return Row(names, self.ours.format(*index), self.axes, self.parts, self.shape)

    def under(self, theirs: str, ours: str) -> "Row":
        """The row with more before its names and its path, as a head puts it there."""
        names = tuple(theirs + name for name in self.names)
        return Row(names, ours + self.ours, self.axes, self.parts, self.shape)

    def to_ours(self, tensors: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """Our leaf of that shape."""
        turned = [x if self.axes is None else x.transpose(self.axes) for x in tensors]
        whole = turned[0] if len(turned) == 1 else np.concatenate(turned, axis=-1)
        return np.ascontiguousarray(whole.reshape(shape))

    def to_theirs(self, leaf: np.ndarray) -> dict[str, np.ndarray]:
        """Their tensors by name, as views where possible."""
        found = {}
        for name, part in zip(self.names, np.split(leaf, self._cuts(leaf.shape[-1]), axis=-1), strict=True):
            if self.shape is not None:
                part = part.reshape(self.shape if self.axes is None else [self.shape[axis] for axis in self.axes])
            found[name] = part if self.axes is None else part.transpose(np.argsort(self.axes))
        return found

    def _cuts(self, width: int) -> list[int]:
        unit = width // sum(self.parts)
        return [int(cut) * unit for cut in np.cumsum(self.parts)[:-1]]


@dataclass(frozen=True)
class Table:
    """All rows of a model.

    prefix: what their names begin with under a head; a file without it is read as well, and it is written.
    ignored: regular expressions of whole names that hold no weight (buffers), or nothing that the model takes.
    copies: name -> name of the row that it must equal (tied weights): checked where stored, and not written.
    early: the last part of a name in the first files of an architecture -> what it is called now.
    """

    rows: tuple[Row, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    early: Mapping[str, str] = field(default_factory=dict)


def each(count: int, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows of a layer, for each of `count` layers: {} is its number."""
    rows = tuple(rows)
    return tuple(row.numbered(layer) for layer in range(count) for row in rows)


def to_leaves(table: Table, tensors: Tensors, shapes: Mapping[str, Any]) -> Leaves:
    """Our leaves by path from their tensors; `shapes` holds what the model wants, by path.

    Raises:
        BadInput: a tensor that is missing, too many, of another shape or not of floating point; a copy that differs.
    """
    stored = _stored_names(table, tensors)
    _check_names(table, stored, tensors)
    leaves = {}
    for row in table.rows:
        leaf = np.broadcast_to(np.float32(0), shapes[row.path].shape)
        parts = []
        for name, expected in row.to_theirs(leaf).items():
            found = tensors.shape(stored[name])
            if found != expected.shape:
                raise BadInput(
                    f"{stored[name]} is {list(found)} in {tensors.path}, where its config.json makes it "
                    f"{list(expected.shape)}: one of the two is of another model"
                )
            parts.append(_floats(tensors, stored[name]))
        leaves[row.path] = row.to_ours(parts, leaf.shape)
    for copy, name in table.copies.items():
        if copy in stored and not np.array_equal(tensors[stored[copy]], tensors[stored[name]]):
            raise BadInput(
                f"{stored[copy]} and {stored[name]} differ in {tensors.path}, where its config.json ties them: "
                "set tie_word_embeddings to false there"
            )
    missing = sorted(shapes.keys() - leaves.keys())
    assert not missing, f"the table has no row for {missing[0]}"
    return leaves


def to_tensors(table: Table, leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Their tensors by name from our leaves by path: `to_leaves` backwards."""
    surplus = sorted(leaves.keys() - {row.path for row in table.rows})
    assert not surplus, f"the table has no row for {surplus[0]}"
    tensors: dict[str, np.ndarray] = {}
    for row in table.rows:
        tensors |= row.to_theirs(np.asarray(leaves[row.path], np.float32))
    return tensors


def _stored_names(table: Table, tensors: Tensors) -> dict[str, str]:
    """A tensor's name in the table -> its name in the file, which may lack the prefix or be an early one."""
    prefix = "" if any(name.startswith(table.prefix) for name in tensors) else table.prefix
    found = {}
    for name in tensors:
        layer, dot, last = name.rpartition(".")
        found[prefix + layer + dot + table.early.get(last, last)] = name
    return found


def _check_names(table: Table, stored: Mapping[str, str], tensors: Tensors) -> None:
    wanted = {name: row for row in table.rows for name in row.names}
    for name, row in wanted.items():
        if name not in stored:
            raise BadInput(f"{tensors.path} has no tensor {name}, which {row.path} needs: it is of another model")
    for name in stored.keys() - wanted.keys() - table.copies.keys():
        if not any(re.fullmatch(pattern, name) for pattern in table.ignored):
            raise BadInput(
                f"{tensors.path} has a tensor {stored[name]} {list(tensors.shape(stored[name]))}, "
                "which the model of its config.json has not"
            )


def _floats(tensors: Tensors, name: str) -> np.ndarray:
    tensor = tensors[name]
    if tensor.dtype != np.float32:
        raise BadInput(f"{name} of {tensors.path} holds {tensor.dtype}: quantised weights are not read")
    return tensor
