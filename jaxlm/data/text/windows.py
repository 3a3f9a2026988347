"""Windows of a token stream: the rows of a language model's batches.

Legend: B rows, T tokens in a row.
"""

from dataclasses import dataclass

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Stream:
    """Documents as token ids, one after the other.

    Attributes:
        tokens: integers [N], in memory or memory-mapped.
        starts: int64, ascending: where each document begins; None where the whole is one document.
        digest: SHA-256 over the content and the tokenizer.
        counted: bool [N], which tokens count as targets in the rows of `Packed`; None: all.
    """

    tokens: np.ndarray
    starts: np.ndarray | None
    digest: str
    counted: np.ndarray | None = None

    def joined(self) -> "Stream":
        """Return the same tokens as one document."""
        return Stream(self.tokens, None, json_sha256("joined", self.digest))


@dataclass(frozen=True, eq=False)
class Windows:
    """A source of disjoint windows of T tokens, each with the T tokens that follow by one as targets.

    In training every epoch cuts the stream at another random phase, so that no token is always the first of a row;
    this leaves out fewer tokens than two windows have. In evaluation the cuts are at 0, T, 2T, ...; every target is
    counted exactly once, and the last row is padded and masked.

    Batches have "tokens" and "targets" int32 [B, T]; with several documents also "segments" int32 [B, T] (1, 2, ... in
    each row, 0 on padding) and "mask" float32 [B, T], which is 0 where the target belongs to the next document; in
    evaluation always a "mask".

    Attributes:
        stream: the tokens.
        length: T.
        training: whether the phase is random.
        shift: how far a target follows its token: 1 for the next one; 0 for the token itself, as in masked language
            modelling, where the last token of an evaluation has a row too.

    Raises:
        BadInput: the stream has fewer than two tokens; or in training fewer than `length` + 1.
    """

    stream: Stream
    length: int
    training: bool
    shift: int = 1

    def __post_init__(self) -> None:
        size = len(self.stream.tokens)
        if self.length < 1:
            raise BadInput(f"rows of {self.length} tokens: give at least 1")
        if size < (self.length + 1 if self.training else 2):
            part = "training" if self.training else "evaluation"
            raise BadInput(
                f"rows of {self.length} tokens need {self.length + 1}, and the {part} text has {size}: "
                "shorten the rows or give more text"
            )

    def __len__(self) -> int:
        size = len(self.stream.tokens)
        return max(1, size // self.length - 1) if self.training else -(-(size - self.shift) // self.length)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the windows with these numbers, as they are in that epoch (None: evaluation)."""
        starts = rows * self.length + (self._phase(epoch) if epoch else 0)
        width = self.length + self.shift
        places = starts[:, None] + np.arange(width)
        real = places < len(self.stream.tokens)
        read = self.stream.tokens[places if real.all() else np.where(real, places, 0)].astype(np.int32)
        batch = {"tokens": read[:, : self.length], "targets": read[:, self.shift :]}
        counted = real[:, self.shift :]
        if self.stream.starts is not None:
            segments = _segments(self.stream.starts, starts, width)
            batch["segments"] = segments[:, : self.length]
            counted = counted & (segments[:, self.shift :] == segments[:, : self.length])
        if self.stream.starts is not None or not self.training:
            batch["mask"] = counted.astype(np.float32)
        if real.all():
            return batch
        return {name: np.where(real[:, self.shift :], values, 0) for name, values in batch.items()}

    def _phase(self, epoch: Epoch) -> int:
        """Return where the first window of an epoch begins."""
        phases = min(self.length, len(self.stream.tokens) - len(self) * self.length)
        return int(epoch.words(1, purpose=1)[0] % np.uint64(phases))

    def counts(self) -> dict[str, int]:
        """Return how much there is, for a line at the start of a run."""
        size, rows = len(self.stream.tokens), len(self)
        documents = 1 if self.stream.starts is None else len(self.stream.starts)
        found = {"documents": documents, "tokens": size, f"rows of {self.length} tokens": rows}
        return found | (
            {"tokens left out of each epoch": size - self.shift - rows * self.length} if self.training else {}
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 over the stream and the form of the windows."""
        documents = self.stream.starts is not None
        name = "windows" if self.shift else "windows of tokens"
        return json_sha256(name, self.stream.digest, documents, self.length, self.training)


def _segments(documents: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """Return the number, from 1 in each row, of the document that each token belongs to; int32 [B, width]."""
    first = np.searchsorted(documents, starts, side="right")
    counts = np.searchsorted(documents, starts + width, side="left") - first
    rows = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    marks = np.zeros((len(starts), width), np.int32)
    marks[rows, documents[first[rows] + within] - starts[rows]] = 1
    return np.cumsum(marks, axis=1, dtype=np.int32) + 1
