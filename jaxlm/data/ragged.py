"""Rows of different lengths in batches of a few widths (bucketing), so that short rows are padded little.

B rows in a batch, T places in a row, N rows in all.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.keys import evaluation_keys, training_keys
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths in memory.

    Attributes:
        sizes: int64 [N], the length of each row.
        cells: by name, the values of all rows, one row after the other; [sum of sizes].
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
        """Return rows padded to one width.

        Args:
            rows: int64 [B]; -1 is a row of padding, zero everywhere.
            width: T, at least the length of every row.

        Returns:
            Cells as [B, T], values as [B], and "segments" int32 [B, T]: 1 where a row has a cell, 0 on padding.
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
        rows, cells = ArraySource({**self.values, "sizes": self.sizes}), ArraySource(self.cells)
        return json_sha256("ragged", rows.fingerprint(), cells.fingerprint())


def ragged(rows: Mapping[str, Sequence[np.ndarray]], values: Mapping[str, np.ndarray]) -> Ragged:
    """Return a `Ragged` from one array for each row.

    Args:
        rows: by name, one array for each row; "tokens" is among the names, and all have its lengths.
        values: by name, one value for each row.
    """
    sizes = np.array([len(row) for row in rows["tokens"]], np.int64)
    return Ragged(sizes, {name: np.concatenate(found) for name, found in rows.items()}, values)


class SizedRows(Protocol):
    """Rows of different lengths, such as `Ragged`."""

    @property
    def sizes(self) -> np.ndarray:
        """Return the length that each row needs; int64 [N]."""
        ...

    def __len__(self) -> int:
        """Return N."""
        ...

    def take(self, rows: np.ndarray, width: int) -> Batch:
        """Return rows padded to one width, see `Ragged.take`."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 over the content."""
        ...


@dataclass(frozen=True, eq=False)
class Bucketed:
    """Batches of rows of about the same length (length bucketing): every row once an epoch, in a few widths.

    The rows are sorted by the width that they need and cut into batches in this order. In training the rows of a width
    that do not fill a batch go on to the next width; in evaluation none does, so that what a model computes for a row
    does not depend on the other rows. A batch that is not full is filled with rows of padding, whose "mask" is 0. In
    training rows that need the same width are permuted every epoch, and so are the batches; the order of the batches
    is the same for every seed, so that runs of several seeds have the same widths at each update.

    A step is compiled once for each width that occurs.

    Attributes:
        source: the rows; "mask" is among its cells or values.
        batch: B, rows in a batch of all shards together; with `places`, the rows of which a batch has a multiple.
        widths: T of the batches, ascending; every row fits the last one.
        seed: of the order in training; None: evaluation, which is one epoch, in order.
        noise: seeds the keys in training; None: `seed`.
        keys: whether batches have "keys", uint32 [B, 2]: a PRNG key for each row (see `jaxlm.data.keys`), zero for
            rows of padding.
        places: B * T of a batch, at most, where B is not below `batch`: so batches of short rows hold more of them, and
            all cost about the same. None: every batch has `batch` rows.
        index, count: the shard.

    Raises:
        BadInput: no rows, a batch below 1, widths that do not ascend, a row longer than the last width, or a negative
            seed.
    """

    source: SizedRows
    batch: int
    widths: tuple[int, ...]
    seed: int | None = None
    noise: int | None = None
    keys: bool = dataclasses.field(default=False, kw_only=True)
    places: int | None = dataclasses.field(default=None, kw_only=True)
    index: int = dataclasses.field(default=0, kw_only=True)
    count: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_widths(self.widths)
        if self.batch < 1:
            raise BadInput(f"a batch of {self.batch} rows: give at least 1")
        if (negative := min(self.seed or 0, self.noise or 0)) < 0:
            raise BadInput(f"a seed of {negative}: give 0 or more")
        if not len(self.source):
            raise BadInput("there are no rows: give more data")
        if self.source.sizes.max() > self.widths[-1]:
            raise BadInput(f"a row of {self.source.sizes.max()} is longer than the widest batch of {self.widths[-1]}")

    def __len__(self) -> int:
        return len(_plan(self, 0).batches)

    def __getitem__(self, index: int) -> Batch:
        if index < 0 or (self.seed is None and index >= len(self)):
            raise IndexError(f"batch {index} of {len(self)}")
        number, place = divmod(index, len(self))
        plan = _plan(self, number)
        chosen = plan.batches[place]
        part = plan.order[plan.firsts[chosen] : plan.firsts[chosen + 1]][self.index :: self.count]
        batch = self.source.take(part, self.widths[plan.widths[chosen]])
        return batch | {"keys": self._keys_of(number, part)} if self.keys else batch

    def rows_of(self, width: int) -> int:
        """Return B of the batches of a width, a multiple of `batch`."""
        return self.batch * max(1, (self.places or 0) // (self.batch * width))

    def _keys_of(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """Return the keys of rows, zero where they are -1; uint32 [B, 2]."""
        size = len(self.source)
        known = evaluation_keys(size) if self.seed is None else training_keys(Epoch(self.seed, epoch, self.noise), size)
        return np.where(rows[:, None] >= 0, known[rows], np.uint32(0))

    def with_keys(self) -> "Bucketed":
        """Return the same batches with "keys", a PRNG key for each row."""
        return dataclasses.replace(self, keys=True)

    @property
    def fill(self) -> float:
        """Return the fraction of all places in an epoch's batches that are not padding."""
        plan = _plan(self, 0)
        return float(self.source.sizes.sum() / (np.array(self.widths)[plan.widths] * np.diff(plan.firsts)).sum())

    def shard(self, index: int, count: int) -> "Bucketed":
        """Return the rows `index::count` of every batch; the shards are disjoint, and together they are the whole.

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
        apart: tuple[object, ...] = () if self.noise in (None, self.seed) else (self.noise,)
        apart += () if self.places is None else ("places", self.places)
        return json_sha256("bucketed", self.source.fingerprint(), self.batch, self.widths, self.seed, *apart)


class _Plan(NamedTuple):
    """The batches of an epoch.

    Attributes:
        order: the rows, batch by batch, -1 is padding.
        firsts: where in `order` each batch begins, and the end of the last one.
        widths: the number of the width of each batch.
        batches: the order in which they come.
    """

    order: np.ndarray
    firsts: np.ndarray
    widths: np.ndarray
    batches: np.ndarray


@lru_cache(maxsize=64)
def _plan(data: Bucketed, number: int) -> _Plan:
    """Return the batches of an epoch."""
    size, needed = len(data.source), np.searchsorted(data.widths, data.source.sizes)
    shuffled = np.arange(size) if data.seed is None else permutation(Epoch(data.seed, number), size)
    groups, numbers, left = list[np.ndarray](), list[int](), np.zeros(0, np.int64)
    for place, width in enumerate(data.widths):
        rows, count = np.concatenate([left, shuffled[needed[shuffled] == place]]), data.rows_of(width)
        goes_on = data.seed is not None and (needed > place).any()
        full = len(rows) // count if goes_on else -(-len(rows) // count)
        left = rows[full * count :]
        taken = rows[: full * count]
        groups += np.split(np.pad(taken, (0, full * count - len(taken)), constant_values=-1), full) if full else []
        numbers += [place] * full
    firsts = np.cumsum([0, *map(len, groups)])
    order = np.arange(len(groups)) if data.seed is None else permutation(Epoch(0, number), len(groups))
    return _Plan(np.concatenate(groups), firsts, np.array(numbers), order)


def check_widths(widths: tuple[int, ...], repeat: int = 1) -> None:
    """Raise BadInput unless widths are positive and ascend.

    Args:
        widths: T of the batches.
        repeat: updates in one compiled program; above 1 there may be one width only.
    """
    if not widths or widths[0] < 1 or list(widths) != sorted(set(widths)):
        raise BadInput(f"data.widths is {widths}: give lengths of at least 1, ascending, the last one for the longest")
    if repeat > 1 and widths[1:]:
        raise BadInput(f"run.repeat is {repeat} and data.widths {widths}: give one width, or run.repeat 1")
