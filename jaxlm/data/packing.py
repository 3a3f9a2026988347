"""Rows of whole documents: packed several to a row, or one to a row.

Legend: B rows, T tokens in a row, P pieces (documents, or parts of those that are longer than a row).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from jaxlm.data.order import Epoch
from jaxlm.data.protocol import Batch, digest
from jaxlm.data.windows import Stream
from jaxlm.errors import BadInput


def cut_documents(stream: Stream, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each piece begins in the stream and its number of targets; int64 [P], int64 [P].

    A document of n tokens has n - 1 targets, cut in pieces of at most `length`: every target is in one piece.
    """
    starts = np.zeros(1, np.int64) if stream.starts is None else stream.starts
    targets = np.diff(np.append(starts, len(stream.tokens))) - 1
    pieces = -(-targets // length)
    within = _counting(pieces) * length
    return np.repeat(starts, pieces) + within, np.minimum(np.repeat(targets, pieces) - within, length)


def best_fit(sizes: np.ndarray, length: int) -> np.ndarray:
    """Return the row of each piece, for sizes in descending order: the fullest row that it still fits in.

    The open rows are kept by the space left in them, and the set of spaces as the bits of one integer, so that the
    tightest one is found at once. int64 [P].
    """
    rows = np.empty(len(sizes), np.int64)
    open_rows: dict[int, list[int]] = {}
    spaces, count = 0, 0
    for piece, size in enumerate(sizes.tolist()):
        fitting = spaces >> size
        if fitting:
            space = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[space].pop()
            if not open_rows[space]:
                spaces ^= 1 << space
        else:
            space, row, count = length, count, count + 1
        rows[piece] = row
        if space > size:
            open_rows.setdefault(space - size, []).append(row)
            spaces |= 1 << space - size
    return rows


class Plan(NamedTuple):
    """Which pieces stand where; all int64.

    Attributes:
        starts: [P], where in the stream the piece of each slot begins.
        sizes: [P], its number of targets.
        columns: [P], where in its row it begins.
        slots: [P], the slots row by row.
        firsts: [rows + 1], where in `slots` each row begins.
    """

    starts: np.ndarray
    sizes: np.ndarray
    columns: np.ndarray
    slots: np.ndarray
    firsts: np.ndarray


def plan_rows(stream: Stream, length: int, pack: bool) -> Plan:
    """Return the plan: best fit, longest first; or one piece to a row, in order.

    Raises:
        BadInput: no document has two tokens.
    """
    starts, sizes = cut_documents(stream, length)
    if not len(sizes):
        raise BadInput("no document has two tokens: give more text")
    order = np.argsort(-sizes, kind="stable") if pack else np.arange(len(sizes))
    starts, sizes = starts[order], sizes[order]
    rows = best_fit(sizes, length) if pack else order
    slots = np.argsort(rows, kind="stable")
    firsts = np.searchsorted(rows[slots], np.arange(rows.max() + 2))
    before = np.cumsum(sizes[slots]) - sizes[slots]
    columns = np.empty_like(sizes)
    columns[slots] = before - np.repeat(before[firsts[:-1]], np.diff(firsts))
    return Plan(starts, sizes, columns, slots, firsts)


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows of T tokens that hold whole documents, next to each other where `pack`, else one to a row.

    The plan is made once, from the sizes alone. In training every epoch deals the documents of equal size anew among
    the slots of that size, so that a document's neighbours change and the number of rows does not.

    Batches: "tokens", "targets", "segments" (1, 2, ... in each row, 0 for padding), "positions" (from 0 in each
    document), int32 [B,T], and "mask" float32 [B,T], 1 on targets that count. A document longer than a row is cut in
    pieces, each on its own.

    Attributes:
        stream: the documents; those of a single token have nothing to predict and are left out.
        length: T.
        pack: False gives the same pieces one to a row, for comparison.

    Raises:
        BadInput: no document has two tokens.
    """

    stream: Stream
    length: int
    pack: bool = True

    def __post_init__(self) -> None:
        if self.length < 1:
            raise BadInput(f"rows of {self.length} tokens: give at least 1")
        len(self)

    @cached_property
    def plan(self) -> Plan:
        """Return which pieces stand where."""
        return plan_rows(self.stream, self.length, self.pack)

    def __len__(self) -> int:
        return len(self.plan.firsts) - 1

    @property
    def fill(self) -> float:
        """Return the share of all places in the rows that hold a token."""
        return float(self.plan.sizes.sum() / (len(self) * self.length))

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows; rows int64 [B]."""
        counts = self.plan.firsts[rows + 1] - self.plan.firsts[rows]
        ordinals = _counting(counts)
        slots = self.plan.slots[np.repeat(self.plan.firsts[rows], counts) + ordinals]
        starts = self.plan.starts[_deal(self, epoch)[slots] if epoch and self.pack else slots]
        sizes = self.plan.sizes[slots]
        within = _counting(sizes)
        columns = np.repeat(np.arange(len(rows)), counts) * self.length + self.plan.columns[slots]
        read = np.repeat(starts, sizes) + within
        cells = {
            "tokens": self.stream.tokens[read],
            "targets": self.stream.tokens[read + 1],
            "segments": np.repeat(ordinals + 1, sizes),
            "positions": within,
            "mask": self._weights(read + 1),
        }
        places = np.repeat(columns, sizes) + within
        return {name: self._spread(values, places, len(rows)) for name, values in cells.items()}

    def _weights(self, targets: np.ndarray) -> np.ndarray:
        """Return 1 for the tokens that count as targets, by their places in the stream; float32."""
        counted = self.stream.counted
        return np.ones(len(targets), np.float32) if counted is None else counted[targets].astype(np.float32)

    def _spread(self, values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
        """Return the values at their places in rows of zeros; float32 or int32 [B,T]."""
        filled = np.zeros(rows * self.length, np.float32 if values.dtype == np.float32 else np.int32)
        filled[places] = values
        return filled.reshape(rows, self.length)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the stream and the form of the rows."""
        return digest("packed", self.stream.digest, self.length, self.pack)


@lru_cache(maxsize=32)
def _deal(packed: Packed, epoch: Epoch) -> np.ndarray:
    """Return the slot whose piece stands in each slot in that epoch; both have the same size."""
    return np.lexsort((epoch.words(len(packed.plan.sizes), purpose=2), -packed.plan.sizes))


def _counting(counts: np.ndarray) -> np.ndarray:
    """Return 0 ... n - 1 for each count n, end to end."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
