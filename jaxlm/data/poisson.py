"""Batches by Poisson sampling, which is what the accounting of differential privacy assumes of a batch.

B rows of arrays, N rows of data.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.keys import training_keys
from jaxlm.data.order import RowSource, Shuffled
from jaxlm.data.protocol import Batch, Data, json_sha256
from jaxlm.data.ragged import Bucketed, SizedRows
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Poisson:
    """Training data: every row is in batch i with the same probability, independently of all other rows and batches.

    Batch i is a function of (seed, i). A batch has a random number of rows, often another one each time, and maybe
    none: arrays have B rows all the same, and "mask" float32 [B] is 0 on the others, which are zero everywhere. Each
    row comes with "keys", uint32 [B, 2], new ones in every batch.

    Attributes:
        source: the rows.
        rate: probability of a row to be in a batch.
        limit: the most rows of a batch; further ones are left out, which the accounting has to count as a failure.
        batch: B, at least `limit`.
        updates: batches in all, for which the accounting is made.
        seed: of the sampling.
        noise: of what is drawn for each row, and of the keys; None: `seed`.
        index, count: the shard.

    Raises:
        BadInput: a rate or a limit that cannot be.
    """

    source: RowSource
    rate: float
    limit: int
    batch: int
    updates: int
    seed: int = 0
    noise: int | None = None
    index: int = dataclasses.field(default=0, kw_only=True)
    count: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadInput(f"a sampling rate of {self.rate}: give a probability above 0")
        if not 1 <= self.limit <= self.batch:
            raise BadInput(f"at most {self.limit} rows in arrays of {self.batch}: give at least 1, and room for them")

    def __len__(self) -> int:
        return round(1 / self.rate)

    def rows(self, index: int) -> np.ndarray:
        """Return the rows that batch `index` samples, before `limit`; int64, ascending.

        Raises:
            IndexError: the accounting has no such batch.
        """
        if not 0 <= index < self.updates:
            raise IndexError(f"batch {index}: the sampling is accounted for the batches 0 to {self.updates - 1}")
        words = Epoch(self.seed, index).words(len(self.source), purpose=7)
        return np.flatnonzero(words <= np.uint64(max(int(self.rate * 2.0**64), 1) - 1))

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows(index)[: self.limit]
        real = np.arange(self.batch) < len(rows)
        chosen = np.zeros(self.batch, np.int64)
        chosen[: len(rows)] = rows
        epoch = Epoch(self.seed, index, self.noise)
        batch = self.source.take(chosen, epoch)  # all shards of it, since the width of a text is that of the longest
        batch.setdefault("mask", np.ones(self.batch, np.float32))
        batch["keys"] = training_keys(epoch, len(self.source))[chosen]
        return {name: _keep_real(values, real)[self.index :: self.count] for name, values in batch.items()}

    def shard(self, index: int, count: int) -> "Poisson":
        """Return the rows `index::count` of every batch; the shards are disjoint, and together they are the whole.

        Raises:
            BadInput: the batch does not divide by `count`.
        """
        if (self.batch // self.count) % count:
            raise BadInput(f"a batch of {self.batch // self.count} rows does not divide by {count} processes")
        return dataclasses.replace(self, index=self.index + index * self.count, count=self.count * count)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and the sampling, not over B, which devices and micro-batches round up."""
        sampled = (self.rate, self.limit, self.updates, self.seed, self.noise)
        return json_sha256("poisson", self.source.fingerprint(), *sampled)


def _keep_real(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    shape = (-1, *(1,) * (values.ndim - 1))
    return np.where(real.reshape(shape), values, np.zeros((), values.dtype))


@dataclass(frozen=True, eq=False)
class Padded:
    """Rows of different lengths as a `RowSource`: padded to the narrowest of a few widths that all rows fit.

    Attributes:
        rows: the rows.
        widths: ascending; every row fits the last one.
    """

    rows: SizedRows
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return rows, padded to one width."""
        del epoch
        longest = self.rows.sizes[rows].max(initial=0)
        return self.rows.take(rows, self.widths[int(np.searchsorted(self.widths, longest))])

    def fingerprint(self) -> str:
        """Return a SHA-256 over the rows and the widths."""
        return json_sha256("padded", self.rows.fingerprint(), self.widths)


def sampled_source(data: Data) -> RowSource:
    """Return the rows of training data, each one example, that batches can be sampled of.

    Raises:
        BadInput: data of another form, or whose rows are parts of an example.
    """
    if isinstance(data, Bucketed) and data.places is None:
        shares = getattr(data.source, "values", {}).get("mask")
        if shares is not None and (shares < 1).any():
            raise BadInput("privacy protects a text, and data.stride makes several rows of one: leave out data.stride")
        return Padded(data.source, data.widths)
    if isinstance(data, Shuffled):
        return data.source
    raise BadInput(
        f"privacy needs batches by Poisson sampling, and {type(data).__name__} has no rows to sample: take data whose "
        "examples are rows, such as images or texts with a label"
    )
