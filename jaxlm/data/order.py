"""Choose the rows of batch i: shuffled epochs for ever, or every row once in order."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.keys import evaluation_keys, training_keys
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


class RowSource(Protocol):
    """Rows by number; a batch is made by one vectorised look-up."""

    def __len__(self) -> int:
        """Return the number of rows in one epoch."""
        ...

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return rows as arrays with one leading axis.

        Args:
            rows: int64 [B], numbers of rows.
            epoch: the pass that they are read in, for what is random in each; None: evaluation.
        """
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 over the content and the form of the rows."""
        ...


@dataclass(frozen=True)
class _Batches:
    """Batches of a source, of which a shard is read: what both orders share.

    Attributes:
        source: the rows.
        batch: B, rows in a batch of all shards together.
        keys: whether batches have "keys", uint32 [B, 2]: a PRNG key for each row (see `jaxlm.data.keys`).
        index, count: the shard.
    """

    source: RowSource
    batch: int
    keys: bool = dataclasses.field(default=False, kw_only=True)
    index: int = dataclasses.field(default=0, kw_only=True)
    count: int = dataclasses.field(default=1, kw_only=True)

    def _part(self, index: int, count: int) -> dict[str, int]:
        """Return the fields that describe shard `index` of `count` of this shard."""
        rows = self.batch // self.count
        if rows % count:
            raise BadInput(f"a batch of {rows} rows does not divide by {count} processes: change the batch size")
        if not 0 <= index < count:
            raise IndexError(f"shard {index} of {count}")
        return {"index": self.index + index * self.count, "count": self.count * count}

    def _fields(self, **changes: Any) -> dict[str, Any]:
        """Return the fields with changes; subclasses may have an `__init__` of their own."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | changes

    def _numbers(self, index: int) -> np.ndarray:
        """Return the positions of this shard of batch `index` in the endless sequence of rows; int64."""
        if index < 0:
            raise IndexError(f"batch {index}: batches are numbered from 0")
        return np.arange(index * self.batch + self.index, (index + 1) * self.batch, self.count)


@dataclass(frozen=True)
class Shuffled(_Batches):
    """Training data: every epoch is a new permutation of all rows, and batches continue over its end.

    Batch i holds rows [i * batch, (i + 1) * batch) of the endless sequence of epochs. A shard has the fingerprint of
    the whole.

    Attributes:
        seed: of the permutations.
        noise: of what is drawn for each row; None: `seed`.

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
        rows = permutation(epoch, len(self.source))[places]
        batch = self.source.take(rows, epoch)
        return batch | {"keys": training_keys(epoch, len(self.source))[rows]} if self.keys else batch

    def with_keys(self) -> "Shuffled":
        """Return the same batches with "keys", a PRNG key for each row: a function of (noise, epoch, row)."""
        return Shuffled(**self._fields(keys=True))

    def shard(self, index: int, count: int) -> "Shuffled":
        """Return the rows `index::count` of every batch; the shards are disjoint, and together they are the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        return Shuffled(**self._fields(**self._part(index, count)))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source, the batch size and the seeds (the noise only where it differs)."""
        apart = () if self.noise in (None, self.seed) else (self.noise,)
        return json_sha256("shuffled", self.source.fingerprint(), self.batch, self.seed, *apart)


@dataclass(frozen=True)
class InOrder(_Batches):
    """Evaluation data: every row exactly once, in order; the last batch is padded to the full size.

    Each batch has a float32 "mask": that of the source, else [batch]. Rows of padding are zero in every array, mask
    and keys included.
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
        rows = np.where(real, numbers, 0)
        batch = self.source.take(rows, None)
        batch.setdefault("mask", np.ones(len(rows), np.float32))
        if self.keys:
            batch["keys"] = evaluation_keys(len(self.source))[rows]
        return batch if real.all() else {name: _keep(values, real) for name, values in batch.items()}

    def with_keys(self) -> "InOrder":
        """Return the same batches with "keys", a PRNG key for each row: a function of the row alone."""
        return InOrder(**self._fields(keys=True))

    def shard(self, index: int, count: int) -> "InOrder":
        """Return the rows `index::count` of every batch; the shards are disjoint, and together they are the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        return InOrder(**self._fields(**self._part(index, count)))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and the batch size."""
        return json_sha256("in order", self.source.fingerprint(), self.batch)


def _keep(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return a copy whose rows that are not `real` are zero."""
    values = values.copy()
    values[~real] = np.zeros((), values.dtype)
    return values
