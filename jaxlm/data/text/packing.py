"""Rows of whole documents: several packed into a row, or one a row.

Legend: B rows, T tokens in a row, P pieces (documents, or parts of those that are longer than a row).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.text.windows import Stream
from jaxlm.errors import BadInput


def cut_documents(stream: Stream, length: int, shift: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Cut documents that are longer than a row into pieces.

    A document of n tokens has n - `shift` targets; every target is in one piece.

    Args:
        stream: the documents.
        length: the largest number of targets of a piece.
        shift: how far a target follows its token.

    Returns:
        Where each piece begins in the stream, int64 [P], and its number of targets, int64 [P].
    """
    starts = np.zeros(1, np.int64) if stream.starts is None else stream.starts
    targets = np.diff(np.append(starts, len(stream.tokens))) - shift
    pieces = -(-targets // length)
    within = _counting(pieces) * length
    return np.repeat(starts, pieces) + within, np.minimum(np.repeat(targets, pieces) - within, length)


def best_fit(sizes: np.ndarray, length: int) -> np.ndarray:
    """Assign each piece to the fullest row that it still fits in (best-fit bin packing).

    Rows with space are indexed by the space that is left, and the set of these spaces is the bits of one integer, so
    that the smallest one that suffices is found in one operation.

    Args:
        sizes: int64 [P], descending.
        length: the size of a row.

    Returns:
        int64 [P], the row of each piece.
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
    """The position of each piece in the rows; all int64. A slot is a position that pieces of one size can share.

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


def plan_rows(stream: Stream, length: int, pack: bool, shift: int = 1) -> Plan:
    """Return the positions of all pieces in rows.

    Args:
        stream: the documents.
        length: T.
        pack: True: best fit, longest first; False: one piece a row, in order.
        shift: how far a target follows its token.

    Raises:
        BadInput: no document has two tokens.
    """
    starts, sizes = cut_documents(stream, length, shift)
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
    """A source of rows of T tokens with whole documents: several next to each other (`pack`), or one a row.

    Positions are computed once, from the sizes alone. In training every epoch permutes the documents of equal size
    among the slots of that size, so that a document's neighbours change and the number of rows does not.

    Batches have "tokens", "targets", "segments" (1, 2, ... in each row, 0 on padding) and "positions" (from 0 in each
    document) int32 [B, T], and "mask" float32 [B, T], 1 on targets that count. A document longer than a row is cut
    into pieces, each on its own.

    Attributes:
        stream: the documents; those of a single token have no next one to predict and are left out.
        length: T.
        pack: False gives the same pieces one a row, for comparison.
        shift: how far a target follows its token: 1 for the next one; 0 for the token itself, as in masked language
            modelling, where the last token of a document is read too.

    Raises:
        BadInput: no document has two tokens.
    """

    stream: Stream
    length: int
    pack: bool = True
    shift: int = 1

    def __post_init__(self) -> None:
        if self.length < 1:
            raise BadInput(f"rows of {self.length} tokens: give at least 1")
        len(self)

    @cached_property
    def plan(self) -> Plan:
        """Return the positions of all pieces."""
        return plan_rows(self.stream, self.length, self.pack, self.shift)

    def __len__(self) -> int:
        return len(self.plan.firsts) - 1

    @property
    def fill(self) -> float:
        """Return the fraction of all positions in the rows that have a token."""
        return float(self.plan.sizes.sum() / (len(self) * self.length))

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the rows with these numbers, as they are in that epoch (None: evaluation)."""
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
            "targets": self.stream.tokens[read + self.shift],
            "segments": np.repeat(ordinals + 1, sizes),
            "positions": within,
            "mask": self._weights(read + self.shift),
        }
        places = np.repeat(columns, sizes) + within
        return {name: self._spread(values, places, len(rows)) for name, values in cells.items()}

    def _weights(self, targets: np.ndarray) -> np.ndarray:
        """Return 1 for tokens that count as targets, else 0, by their positions in the stream; float32."""
        counted = self.stream.counted
        return np.ones(len(targets), np.float32) if counted is None else counted[targets].astype(np.float32)

    def _spread(self, values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
        """Return rows of zeros with the values at their positions; float32 or int32 [B, T]."""
        filled = np.zeros(rows * self.length, np.float32 if values.dtype == np.float32 else np.int32)
        filled[places] = values
        return filled.reshape(rows, self.length)

    def counts(self) -> dict[str, int]:
        """Return how much there is, for a line at the start of a run."""
        documents = 1 if self.stream.starts is None else len(self.stream.starts)
        padding = len(self) * self.length - int(self.plan.sizes.sum())
        found = {"documents": documents, "tokens": len(self.stream.tokens), f"rows of {self.length} tokens": len(self)}
        return found | {"places of padding": padding}

    def fingerprint(self) -> str:
        """Return a SHA-256 over the stream and the form of the rows."""
        name = "packed" if self.shift else "packed tokens"
        return json_sha256(name, self.stream.digest, self.length, self.pack)


@lru_cache(maxsize=32)
def _deal(packed: Packed, epoch: Epoch) -> np.ndarray:
    """Return the permutation of slots in an epoch: the slot whose piece is read for each slot, of the same size."""
    return np.lexsort((epoch.words(len(packed.plan.sizes), purpose=2), -packed.plan.sizes))


def _counting(counts: np.ndarray) -> np.ndarray:
    """Return 0 ... n - 1 for each count n, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
