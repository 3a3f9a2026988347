"""Rows of different lengths, in batches of a few widths, so that short rows do not pay for long ones.

B rows in a batch, T places in a row, N rows in all.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from jaxlm.data.arrays import Table
from jaxlm.data.order import Epoch, permutation
from jaxlm.data.protocol import Batch, digest
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths in memory.

    Attributes:
        sizes: int64 [N], how many places each row takes.
        cells: by name, what stands at the places of all rows, end to end; [sum of sizes].
        values: by name, one value for each row; [N].
    """

    sizes: np.ndarray
    cells: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.sizes) - self.sizes

    def take(self, rows: np.ndarray, width: int) -> Batch:
        """Return rows as arrays [B, width] of cells and [B] of values, and "segments": 1 where a row has a place.

        Args:
            rows: int64 [B]; -1 is a row of padding, zero everywhere.
            width: T, at least the size of every row.
        """
        real, chosen = rows >= 0, np.maximum(rows, 0)
        sizes = np.where(real, self.sizes[chosen], 0)
        filled = np.arange(width) < sizes[:, None]
        places = (np.arange(width) + self._starts[chosen][:, None])[filled]
        batch = {"segments": filled.astype(np.int32)}
        for name, cells in self.cells.items():
            batch[name] = np.zeros(filled.shape, cells.dtype)
            batch[name][filled] = cells[places]
        return batch | {
            name: np.where(real, values[chosen], 0).astype(values.dtype) for name, values in self.values.items()
        }

    def fingerprint(self) -> str:
        """Return a SHA-256 over sizes, cells and values."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        rows, cells = Table({**self.values, "sizes": self.sizes}), Table(self.cells)
        return digest("ragged", rows.fingerprint(), cells.fingerprint())


def ragged(rows: Mapping[str, Sequence[np.ndarray]], values: Mapping[str, np.ndarray]) -> Ragged:
    """Return rows from the cells of each of them; `rows` holds "tokens", and all entries have its sizes."""
    sizes = np.array([len(row) for row in rows["tokens"]], np.int64)
    return Ragged(sizes, {name: np.concatenate(found) for name, found in rows.items()}, values)


@dataclass(frozen=True, eq=False)
class Bucketed:
    """Batches of rows of about the same length: every row once an epoch, in as few widths as are given.

    The rows are sorted by the width that they need, and cut into batches in this order, so that at most one batch for
    each width holds rows that need a smaller one. The last batch is filled up with rows of padding, whose weight in
    "mask" is 0. In training rows that need the same width change places every epoch, and batches come in another order;
    that order is the same for every seed, so that runs of several seeds have the same widths at each update.

    A step is compiled once for each width that occurs.

    Attributes:
        source: the rows; "mask" is among its cells or values.
        batch: B.
        widths: T of the batches, ascending; the last one holds every row.
        seed: of the order in training; None is evaluation: one epoch, in order.

    Raises:
        BadInput: no rows, a batch of none, widths that do not ascend or do not hold every row, or a negative seed.
    """

    source: Ragged
    batch: int
    widths: tuple[int, ...]
    seed: int | None = None
    index: int = dataclasses.field(default=0, kw_only=True)
    count: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_widths(self.widths)
        if self.batch < 1:
            raise BadInput(f"a batch of {self.batch} rows: give at least 1")
        if (self.seed or 0) < 0:
            raise BadInput(f"a seed of {self.seed}: give 0 or more")
        if not len(self.source):
            raise BadInput("there are no rows: give more data")
        if self.source.sizes.max() > self.widths[-1]:
            raise BadInput(f"a row of {self.source.sizes.max()} is longer than the widest batch of {self.widths[-1]}")

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch)

    def __getitem__(self, index: int) -> Batch:
        if index < 0 or (self.seed is None and index >= len(self)):
            raise IndexError(f"batch {index} of {len(self)}")
        number, place = divmod(index, len(self))
        order, needed, batches = _plan(self, number)
        first = int(batches[place]) * self.batch
        rows = np.full(self.batch, -1)
        found = order[first : first + self.batch]
        rows[: len(found)] = found
        width = self.widths[needed[first + len(found) - 1]]
        return self.source.take(rows[self.index :: self.count], width)

    @property
    def fill(self) -> float:
        """Return the share of all places in an epoch's batches that hold something."""
        _, needed, batches = _plan(self, 0)
        last = np.minimum((batches + 1) * self.batch, len(self.source)) - 1
        return float(self.source.sizes.sum() / (np.array(self.widths)[needed[last]].sum() * self.batch))

    def shard(self, index: int, count: int) -> "Bucketed":
        """Return the rows `index::count` of every batch: disjoint, and together the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        if (self.batch // self.count) % count:
            raise BadInput(
                f"a batch of {self.batch // self.count} rows does not divide by {count} processes: change the batch"
            )
        return dataclasses.replace(self, index=self.index + index * self.count, count=self.count * count)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the rows and all that shapes the batches."""
        return digest("bucketed", self.source.fingerprint(), self.batch, self.widths, self.seed)


@lru_cache(maxsize=64)
def _plan(data: Bucketed, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of an epoch in order, the index of the width that each needs, and the order of batches."""
    size, needed = len(data.source), np.searchsorted(data.widths, data.source.sizes)
    shuffled = np.arange(size) if data.seed is None else permutation(Epoch(data.seed, number), size)
    order = shuffled[np.argsort(needed[shuffled], kind="stable")]
    batches = np.arange(len(data)) if data.seed is None else permutation(Epoch(0, number), len(data))
    return order, needed[order], batches


def check_widths(widths: tuple[int, ...], repeat: int = 1) -> None:
    """Raise BadInput unless widths are positive and ascend, and are one where several updates are one program."""
    if not widths or widths[0] < 1 or list(widths) != sorted(set(widths)):
        raise BadInput(f"data.widths is {widths}: give lengths of at least 1, ascending, the last one for the longest")
    if repeat > 1 and widths[1:]:
        raise BadInput(f"run.repeat is {repeat} and data.widths {widths}: give one width, or run.repeat 1")
