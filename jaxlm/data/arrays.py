"""Arrays in memory, or memory-mapped, as training and evaluation data."""

import hashlib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput

NOT_NPZ = (  # what NumPy raises for a damaged .npz file, or another kind of file
    *(OSError, EOFError, KeyError, MemoryError, NotImplementedError, OverflowError, RecursionError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """A source of named arrays that share their leading axis: one row for each example.

    Attributes:
        arrays: by name, in memory or memory-mapped; [N, ...] each.

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
        """Return the rows with these numbers; they are the same in every epoch."""
        del epoch
        return {name: np.asarray(values[rows]) for name, values in self.arrays.items()}

    def fingerprint(self) -> str:
        """Return a SHA-256 over names, shapes, dtypes and values."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [[name, _array_digest(np.asarray(values))] for name, values in sorted(self.arrays.items())]
        return json_sha256("table", parts)


def _array_digest(values: np.ndarray) -> str:
    content = hashlib.sha256(np.ascontiguousarray(values).view(np.uint8).data).hexdigest()
    return json_sha256(values.shape, values.dtype.str, content)


class Arrays(Shuffled):
    """Training data from arrays: every epoch is a new random order of all rows, and epochs follow each other for ever.

    Args:
        arrays: by name, with one leading axis.
        batch: rows in a batch.
        seed: of the orders.

    Raises:
        BadInput: the arrays differ in length, or have fewer rows than a batch.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], batch: int, seed: int = 0) -> None:
        super().__init__(ArraySource(arrays), batch, seed)


class Examples(InOrder):
    """Evaluation data from arrays: every row exactly once, in order, with a float32 "mask" [batch].

    Args:
        arrays: by name, with one leading axis.
        batch: rows in a batch; the last one is padded, with a mask of 0.

    Raises:
        BadInput: the arrays differ in length.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], batch: int) -> None:
        super().__init__(ArraySource(arrays), batch)
