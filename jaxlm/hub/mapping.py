"""Translation of checkpoints between PyTorch's tensors and jaxlm's leaves, by one table for each model.

A table is a tuple of rows and is read in both directions. A row names a tensor, the leaf that it becomes, and the
order of its axes. Several tensors of one row are parts of one leaf, joined along its last axis (queries, keys and
values).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub.tensors import Tensors

Leaves = dict[str, Any]  # "params/..." and "batch_stats/..." -> array

KEEP = None  # the same axes
LINEAR = (1, 0)  # torch.nn.Linear: [out, in] -> [in, out]
CONV = (2, 3, 1, 0)  # torch.nn.Conv2d: [out, in, height, width] -> [height, width, in, out]


@dataclass(frozen=True)
class TensorRow:
    """One leaf of jaxlm's variables and the PyTorch tensors that it is made of.

    Attributes:
        tensor: the name of a tensor, or of several that are joined along the leaf's last axis.
        leaf: the path of the leaf: of a parameter, or with its collection where it is "batch_stats/...".
        axes: the tensor's axes in the leaf's order.
        parts: relative sizes of the tensors along the leaf's last axis.
        shape: shape of the tensor, where it is not a permutation of the leaf's; its elements are then in the order that
            `axes` gives.
    """

    tensor: str | tuple[str, ...]
    leaf: str
    axes: tuple[int, ...] | None = KEEP
    parts: tuple[int, ...] = (1,)
    shape: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tensors."""
        return (self.tensor,) if isinstance(self.tensor, str) else self.tensor

    @property
    def path(self) -> str:
        """The leaf's path with its collection."""
        return self.leaf if self.leaf.startswith("batch_stats/") else f"params/{self.leaf}"

    def numbered(self, *index: int) -> "TensorRow":
        """Return the row with numbers in place of its {}."""
        names = tuple(name.format(*index) for name in self.names)
        return TensorRow(names, self.leaf.format(*index), self.axes, self.parts, self.shape)

    def under(self, tensor_prefix: str, leaf_prefix: str) -> "TensorRow":
        """Return the row with prefixes before its tensor names and its leaf's path, as a head needs them."""
        names = tuple(tensor_prefix + name for name in self.names)
        return TensorRow(names, leaf_prefix + self.leaf, self.axes, self.parts, self.shape)

    def to_leaf(self, tensors: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """Convert the tensors into a leaf of that shape."""
        turned = [x if self.axes is None else x.transpose(self.axes) for x in tensors]
        whole = turned[0] if len(turned) == 1 else np.concatenate(turned, axis=-1)
        return np.ascontiguousarray(whole.reshape(shape))

    def to_tensors(self, leaf: np.ndarray) -> dict[str, np.ndarray]:
        """Convert a leaf into the tensors by name, as views where possible."""
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
class TensorTable:
    """All rows of a model.

    Attributes:
        rows: one row for each leaf.
        prefix: what the names begin with under a head. A file without it is read as well; it is written.
        ignored: regular expressions of whole names of tensors that are not weights (buffers) or that the model does not
            use.
        copies: name -> name of the tensor that it must equal (tied weights): checked where stored, and not written.
        old_names: last part of a name in the first files of an architecture -> its name now.
    """

    rows: tuple[TensorRow, ...]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    old_names: Mapping[str, str] = field(default_factory=dict)


def each(count: int, rows: Iterable[TensorRow]) -> tuple[TensorRow, ...]:
    """Repeat the rows of a layer for each of `count` layers; {} is the layer's number."""
    rows = tuple(rows)
    return tuple(row.numbered(layer) for layer in range(count) for row in rows)


def to_leaves(table: TensorTable, tensors: Tensors, shapes: Mapping[str, Any]) -> Leaves:
    """Convert tensors into leaves by path.

    Args:
        table: the model's table.
        tensors: the tensors of a file or folder.
        shapes: the shape of each of the model's leaves, by path.

    Raises:
        BadInput: a tensor that is missing, surplus, of another shape or not floating point; a copy that differs.
    """
    stored = check_names(table, tensors)
    leaves = {}
    for row in table.rows:
        leaf = np.broadcast_to(np.float32(0), shapes[row.path].shape)
        parts = []
        for name, expected in row.to_tensors(leaf).items():
            found = tensors.shape(stored[name])
            if found != expected.shape:
                raise BadInput(
                    f"{stored[name]} is {list(found)} in {tensors.path}, where its config.json makes it "
                    f"{list(expected.shape)}: one of the two is of another model"
                )
            parts.append(_floats(tensors, stored[name]))
        leaves[row.path] = row.to_leaf(parts, leaf.shape)
    for copy, name in table.copies.items():
        if copy in stored and not np.array_equal(tensors[stored[copy]], tensors[stored[name]]):
            raise BadInput(
                f"{stored[copy]} and {stored[name]} differ in {tensors.path}, where its config.json ties them: "
                "set tie_word_embeddings to false there"
            )
    missing = sorted(shapes.keys() - leaves.keys())
    assert not missing, f"the table has no row for {missing[0]}"
    return leaves


def to_tensors(table: TensorTable, leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Convert leaves by path into tensors by name: the inverse of `to_leaves`."""
    surplus = sorted(leaves.keys() - {row.path for row in table.rows})
    assert not surplus, f"the table has no row for {surplus[0]}"
    tensors: dict[str, np.ndarray] = {}
    for row in table.rows:
        tensors |= row.to_tensors(np.asarray(leaves[row.path], np.float32))
    return tensors


def _stored_names(table: TensorTable, tensors: Tensors) -> dict[str, str]:
    """Map a tensor's name in the table to its name in the file, which may lack the prefix or be an old one."""
    prefix = "" if any(name.startswith(table.prefix) for name in tensors) else table.prefix
    found = {}
    for name in tensors:
        layer, dot, last = name.rpartition(".")
        found[prefix + layer + dot + table.old_names.get(last, last)] = name
    return found


def check_names(table: TensorTable, tensors: Tensors) -> dict[str, str]:
    """Check that a file has all tensors of a table, and others only where the table passes them over.

    Returns:
        The name in the file of each tensor, by its name in the table.

    Raises:
        BadInput: a tensor that is missing or surplus.
    """
    stored = _stored_names(table, tensors)
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
    return stored


def _floats(tensors: Tensors, name: str) -> np.ndarray:
    tensor = tensors[name]
    if tensor.dtype != np.float32:
        raise BadInput(f"{name} of {tensors.path} holds {tensor.dtype}: quantised weights are not read")
    return tensor
