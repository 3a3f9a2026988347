"""What the rest of the toolkit asks of data: batches by index."""

import hashlib
import json
from typing import Protocol

import numpy as np

Batch = dict[str, np.ndarray]


class Data(Protocol):
    """Random access to batches: `data[i]` feeds update i -> i+1 and is a pure function of (seed, i).

    Nothing is consumed, so nothing has to be saved: a run that resumes at update i goes on with `data[i]`.
    """

    def __len__(self) -> int:
        """Return the number of batches in one epoch (training data may be indexed past it)."""
        ...

    def __getitem__(self, index: int) -> Batch:
        """Return batch `index`: arrays that share their leading axis."""
        ...

    def fingerprint(self) -> str:
        """Return a SHA-256 over the content and all that shapes the batches."""
        ...

    def shard(self, index: int, count: int) -> "Data":
        """Return the rows `index::count` of every batch."""
        ...


def digest(*parts: object) -> str:
    """Return the SHA-256, in hexadecimal, of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
