"""Data of an experiment that needs only randomness, such as one with an environment inside its step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


@dataclass(frozen=True)
class NoArrays:
    """A source of rows without arrays, so that a batch has their keys alone.

    Attributes:
        rows: how many.

    Raises:
        BadInput: fewer than one.
    """

    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise BadInput(f"{self.rows} draws: give at least 1")

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return no arrays."""
        del rows, epoch
        return {}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the number of rows."""
        return json_sha256("no arrays", self.rows)


class Draws(Shuffled):
    """Batches of PRNG keys for ever: {"keys": uint32 [count, 2]}, a pure function of (seed, index).

    Every batch is an epoch of its own. Inside a step `steps.typed_keys(batch["keys"])` gives typed keys [count].

    Raises:
        BadInput: a count below 1, or a negative seed.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        super().__init__(NoArrays(count), count, seed, keys=True)


@dataclass(frozen=True, kw_only=True)
class DrawsSpec:
    """Spec: PRNG keys and nothing else, for an experiment that makes its data inside the step.

    Attributes:
        batch: keys in a training batch, such as episodes that are played before each update.
        eval_draws: keys of an evaluation, the same in every one.
        eval_batch: keys in an evaluation batch; None: as in training.
    """

    batch: int = 64
    eval_draws: int = 256
    eval_batch: int | None = None

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput for numbers below 1; any model fits."""
        del model, repeat
        self.train()
        self.eval()

    def train(self, seed: int = 0, noise: int | None = None) -> Draws:
        """Return the training batches; they are noise alone, and follow `seed` only where `noise` is None."""
        return Draws(self.batch, seed if noise is None else noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: "keys" uint32 [B, 2], and "mask" float32 [B], 0 on padding."""
        return InOrder(NoArrays(self.eval_draws), self.eval_batch or self.batch, keys=True)

    def example(self) -> np.ndarray:
        """Return one key; uint32 zeros [1, 2]."""
        return np.zeros((1, 2), np.uint32)

    def artefacts(self) -> dict[str, str]:
        """Return no files."""
        return {}

    def log_lines(self) -> Sequence[str]:
        """Return a line that says how much is drawn."""
        return [f"data: {self.batch:,} draws an update, {self.eval_draws:,} draws an evaluation"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "draws"
