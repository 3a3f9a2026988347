"""Which rows make up batch i: shuffled epochs for ever, or every row once in order."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from jaxlm.data.protocol import Batch, digest
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class Epoch:
    """One pass over the data: everything random in it is a pure function of (seed, number), or of (noise, number).

    Attributes:
        seed: of the order of the rows and how a text is cut into them.
        number: counts the passes.
        noise: the seed of what is drawn for each row, such as a crop; None: the same.
    """

    seed: int
    number: int
    noise: int | None = None

    def words(self, count: int, purpose: int) -> np.ndarray:
        """Return `count` random uint64.

        Raw words of a counter-based generator: NumPy keeps these for ever, while the methods of its `Generator` may
        change with a release. `purpose` separates the draws of one epoch from each other.
        """
        return self._words(self.seed, count, purpose)

    def noise_words(self, count: int, purpose: int) -> np.ndarray:
        """Return `count` random uint64 from the seed of the noise."""
        return self._words(self.seed if self.noise is None else self.noise, count, purpose)

    def _words(self, seed: int, count: int, purpose: int) -> np.ndarray:
        return np.random.Philox(np.random.SeedSequence([seed, self.number, purpose])).random_raw(count)


def of_epoch(make: Callable[[Epoch, int], np.ndarray]) -> Callable[[Epoch, int], np.ndarray]:
    """Keep what a function makes of (epoch, count), for each seed that of its two latest epochs.

    Runs of many seeds may read the same data in turn, and each of them needs two epochs at their seam.
    """
    by_seed = lru_cache(maxsize=256)(lambda seed: lru_cache(maxsize=2)(make))
    return lambda epoch, count: by_seed(epoch.seed)(epoch, count)


@of_epoch
def permutation(epoch: Epoch, count: int) -> np.ndarray:
    """Return a random order of `range(count)`; int64 [count], read-only."""
    order = np.argsort(epoch.words(count, purpose=0), kind="stable")
    order.setflags(write=False)
    return order


class Source(Protocol):
    """Rows by number, of which a batch is made by one vectorised look-up."""

    def __len__(self) -> int:
        """Return the number of rows in one epoch."""
        ...

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the rows with these numbers, as they are in that epoch (None: evaluation)."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 over content and form."""
        ...


@dataclass(frozen=True)
class _Batches:
    """What both orders share: a source, a batch size, and the part of each batch that is read."""

    source: Source
    batch: int
    index: int = dataclasses.field(default=0, kw_only=True)
    count: int = dataclasses.field(default=1, kw_only=True)

    def _part(self, index: int, count: int) -> dict[str, int]:
        """Return the fields of the shard `index` of `count` of this shard."""
        rows = self.batch // self.count
        if rows % count:
            raise BadInput(f"a batch of {rows} rows does not divide by {count} processes: change the batch size")
        if not 0 <= index < count:
            raise IndexError(f"shard {index} of {count}")
        return {"index": self.index + index * self.count, "count": self.count * count}

    def _numbers(self, index: int) -> np.ndarray:
        """Return the places, in the endless sequence of rows, of this part of batch `index`."""
        if index < 0:
            raise IndexError(f"batch {index}: batches are numbered from 0")
        return np.arange(index * self.batch + self.index, (index + 1) * self.batch, self.count)


@dataclass(frozen=True)
class Shuffled(_Batches):
    """Training data: every epoch is a new permutation of all rows, and batches run on over its end.

    Batch i holds rows [i * batch, (i + 1) * batch) of the endless sequence of epochs. The fingerprint is that of the
    whole, whatever the shard. `seed` and `noise` are those of its epochs.

    Raises:
        BadInput: the source has fewer rows than a batch, or a seed is negative.
    """

    seed: int = 0
    noise: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadInput(f"a batch of {self.batch} rows: give at least 1")
        if (negative := min(self.seed, self.noise or 0)) < 0:
            raise BadInput(f"a seed of {negative}: give 0 or more")
        if self.batch > len(self.source):
            raise BadInput(
                f"a batch of {self.batch} rows is larger than the {len(self.source)} rows that the data has: "
                "lower the batch, shorten the rows or give more data"
            )

    def __len__(self) -> int:
        return len(self.source) // self.batch

    def __getitem__(self, index: int) -> Batch:
        epochs, places = np.divmod(self._numbers(index), len(self.source))
        parts = [self._rows(epoch, places[epochs == epoch]) for epoch in range(epochs[0], epochs[-1] + 1)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]

    def _rows(self, number: int, places: np.ndarray) -> Batch:
        epoch = Epoch(self.seed, int(number), self.noise)
        return self.source.take(permutation(epoch, len(self.source))[places], epoch)

    def shard(self, index: int, count: int) -> "Shuffled":
        """Return the rows `index::count` of every batch: disjoint, and together the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        return Shuffled(self.source, self.batch, self.seed, self.noise, **self._part(index, count))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source, the batch size and the seeds; a noise of the same seed is none."""
        apart = () if self.noise in (None, self.seed) else (self.noise,)
        return digest("shuffled", self.source.fingerprint(), self.batch, self.seed, *apart)


@dataclass(frozen=True)
class InOrder(_Batches):
    """Evaluation data: every row exactly once, in order; the last batch is padded to the full size.

    Each batch has a float32 "mask": the source's own, or [batch] where it has none. Padding rows are zero in every
    array, mask included.
    """

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadInput(f"a batch of {self.batch} rows: give at least 1")

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch)

    def __getitem__(self, index: int) -> Batch:
        if index >= len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        numbers = self._numbers(index)
        real = numbers < len(self.source)
        rows = self.source.take(np.where(real, numbers, 0), None)
        rows.setdefault("mask", np.ones(len(numbers), np.float32))
        return rows if real.all() else {name: _keep(values, real) for name, values in rows.items()}

    def shard(self, index: int, count: int) -> "InOrder":
        """Return the rows `index::count` of every batch: disjoint, and together the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        return InOrder(self.source, self.batch, **self._part(index, count))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and the batch size."""
        return digest("in order", self.source.fingerprint(), self.batch)


def _keep(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return a copy whose rows that are not `real` are zero."""
    values = values.copy()
    values[~real] = np.zeros((), values.dtype)
    return values
