"""Arrays in memory, or memory-mapped, as training and evaluation data."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.order import Epoch, InOrder, Shuffled
from jaxlm.data.protocol import Batch, digest
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Table:
    """Named arrays that share their leading axis: one row an example.

    Raises:
        BadInput: no arrays, no rows, or leading axes that differ.
    """

    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.arrays.items()}
        if len(set(lengths.values())) != 1 or not len(self):
            raise BadInput(f"arrays need one and the same number of rows, at least 1, and have {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows; they are the same in every epoch."""
        del epoch
        return {name: np.asarray(values[rows]) for name, values in self.arrays.items()}

    def fingerprint(self) -> str:
        """Return a SHA-256 over names, shapes, dtypes and values."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [[name, _array_digest(np.asarray(values))] for name, values in sorted(self.arrays.items())]
        return digest("table", parts)


def _array_digest(values: np.ndarray) -> str:
    content = hashlib.sha256(np.ascontiguousarray(values).view(np.uint8).data).hexdigest()
    return digest(values.shape, values.dtype.str, content)


class Arrays(Shuffled):
    """Training data from arrays: shuffled anew every epoch, without replacement, for ever.

    Raises:
        BadInput: arrays that do not fit each other, or fewer rows than a batch.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], batch: int, seed: int = 0) -> None:
        super().__init__(Table(arrays), batch, seed)


class Examples(InOrder):
    """Evaluation data from arrays: every row exactly once, in order, with a float32 "mask" [batch].

    Raises:
        BadInput: arrays that do not fit each other.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], batch: int) -> None:
        super().__init__(Table(arrays), batch)
