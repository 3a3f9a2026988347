"""What the rest of the toolkit asks of data: batches by index, and specs that make them."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Batch = dict[str, np.ndarray]


class Data(Protocol):
    """Random access to batches: `data[i]` feeds update i -> i + 1 and is a pure function of (seed, i).

    Nothing is consumed, so there is nothing to save: a run that resumes at update i goes on with `data[i]`.
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


class DataSpec(Protocol):
    """The `data` of a config: a frozen dataclass that makes training and evaluation data and describes them.

    What it reads is read once a process, when it is first needed.
    """

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model; writes nothing.

        Args:
            model: what the data are for. Specs of classes read its `classes`; specs of text read `vocab` and, where
                there is one, `context`, from the model or from its `encoder`.
            repeat: updates in one compiled program, which needs batches of one shape.
        """
        ...

    def train(self, seed: int = 0, noise: int | None = None) -> Data:
        """Return the training data.

        Args:
            seed: of the order of the rows.
            noise: of what is drawn for each row, such as augmentation, hidden words and "keys"; None: `seed`.
        """
        ...

    def eval(self) -> Data:
        """Return the evaluation data: every row exactly once, the same for every seed."""
        ...

    def example(self) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return an input that a model is initialised with, or several; the leading axis is 1."""
        ...

    def artefacts(self) -> dict[str, str]:
        """Return the files that are kept with a run, by name, so that it can be used without the data."""
        ...

    def log_lines(self) -> Sequence[str]:
        """Return lines for the start of a run: how much data there is, its classes, and what was left out."""
        ...

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as, such as (4096, "tokens")."""
        ...


def json_sha256(*parts: object) -> str:
    """Return the SHA-256, in hexadecimal, of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cache_folder(kind: str) -> Path:
    """Return a folder of files that may be deleted at any time, below `JAXLM_CACHE`, else ~/.cache/jaxlm."""
    return Path(os.environ.get("JAXLM_CACHE", "~/.cache/jaxlm")).expanduser() / kind


def summary_line(split: str, counts: Mapping[str, int]) -> str:
    """Return a line about a split, such as "train data: 60,000 images, 2 broken files left out"."""
    return f"{split} data: " + ", ".join(f"{count:,} {what}" for what, count in counts.items())
