"""Rows of interactions, as a source of training or of evaluation takes them.

B rows, S items of a user, K drawn items, T held-out items. Items are int32; -1 fills a row up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.epoch import Epoch
from jaxlm.data.interactions.log import Histories
from jaxlm.data.interactions.sampling import draw_unmet, row_words
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class InteractionRows:
    """A row for each interaction: "user" int32 [B], "positives" [B, 1], "negatives" [B, K], items the user has not met.

    Attributes:
        met: of the training.
        items: I.
        negatives: K.
        names: of users, for a message.

    Raises:
        BadInput: there are negatives to draw, and a user has met all items.
    """

    met: Histories
    items: int
    negatives: int
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.negatives and self.met.counts.max(initial=0) >= self.items:
            raise BadInput(
                f"the user {self.names[self.met.counts.argmax()]} has met all {self.items} items in training, so that "
                "no other can be drawn: leave this user out, or set data.negatives to 0"
            )

    def __len__(self) -> int:
        return len(self.met.items)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return interactions by number; the negatives are drawn for each (seed of the noise, epoch, row)."""
        users, batch = self._users[rows], {"user": self._users[rows], "positives": self.met.items[rows][:, None]}
        if not self.negatives:
            return batch
        words = row_words(epoch or Epoch(0, 0), rows, self.negatives)
        return batch | {"negatives": draw_unmet(words, users, self._codes, self.items)}

    @cached_property
    def _users(self) -> np.ndarray:
        return self.met.users

    @cached_property
    def _codes(self) -> np.ndarray:
        return codes_of(self.met, self.items)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the interactions and the number of negatives."""
        return json_sha256("pairs", fingerprint_of(self.met), self.items, self.negatives)


@dataclass(frozen=True, eq=False)
class UserRows:
    """A row for each user with interactions: "user" int32 [B] and all of its items, "positives" [B, S].

    Attributes:
        met: of the training.
    """

    met: Histories

    def __len__(self) -> int:
        return len(self._users)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return users by number."""
        del epoch
        users = self._users[rows]
        return {"user": users, "positives": self.met.padded(users, self._width)}

    @cached_property
    def _users(self) -> np.ndarray:
        return np.flatnonzero(self.met.counts).astype(np.int32)

    @cached_property
    def _width(self) -> int:
        return int(self.met.counts.max())

    def fingerprint(self) -> str:
        """Return a SHA-256 over the interactions."""
        return json_sha256("users", fingerprint_of(self.met))


@dataclass(frozen=True, eq=False)
class RankingRows:
    """A row for each user with held-out items: "user" [B], "seen" [B, S], its training items, and "targets" [B, T].

    Attributes:
        met: of the training.
        held_out: of the evaluation.
    """

    met: Histories
    held_out: Histories

    def __len__(self) -> int:
        return len(self._users)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return users by number."""
        del epoch
        users, (seen, targets) = self._users[rows], self._widths
        return {
            "user": users,
            "seen": self.met.padded(users, seen),
            "targets": self.held_out.padded(users, targets),
        }

    @cached_property
    def _users(self) -> np.ndarray:
        return np.flatnonzero(self.held_out.counts).astype(np.int32)

    @cached_property
    def _widths(self) -> tuple[int, int]:
        return max(int(self.met.counts.max()), 1), int(self.held_out.counts.max())

    def fingerprint(self) -> str:
        """Return a SHA-256 over both sets of interactions."""
        return json_sha256("ranking", fingerprint_of(self.met), fingerprint_of(self.held_out))


@dataclass(frozen=True, eq=False)
class SampledRows:
    """A row for each held-out item: "user" [B], "seen" [B, S], and "items" [B, 1 + K], the item and K to rank it among.

    The others are drawn without repetition from the items that the user has met neither in training nor held out (He
    et al. 2017, section 4.1), as a function of the row alone.

    Attributes:
        met: of the training.
        held_out: of the evaluation.
        items: I.
        count: K.
        names: of users, for a message.

    Raises:
        BadInput: a user has fewer unmet items than `count`.
    """

    met: Histories
    held_out: Histories
    items: int
    count: int
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        left = np.where(self.held_out.counts > 0, self.items - self.met.counts - self.held_out.counts, self.items)
        if left.min() < self.count:
            raise BadInput(
                f"the user {self.names[left.argmin()]} has {left.min()} items left to meet: set data.sampled to at "
                "most that many, or 0"
            )

    def __len__(self) -> int:
        return len(self.held_out.items)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return held-out items by number."""
        del epoch
        users = self._users[rows]
        drawn = draw_unmet(row_words(Epoch(0, 0), rows, self.count), users, self._codes, self.items, distinct=True)
        seen = self.met.padded(users, max(int(self.met.counts.max()), 1))
        return {"user": users, "seen": seen, "items": np.concatenate([self.held_out.items[rows][:, None], drawn], 1)}

    @cached_property
    def _users(self) -> np.ndarray:
        return self.held_out.users

    @cached_property
    def _codes(self) -> np.ndarray:
        return np.sort(np.concatenate([codes_of(self.met, self.items), codes_of(self.held_out, self.items)]))

    def fingerprint(self) -> str:
        """Return a SHA-256 over both sets of interactions and the number of drawn items."""
        return json_sha256("sampled", fingerprint_of(self.met), fingerprint_of(self.held_out), self.items, self.count)


def codes_of(met: Histories, items: int) -> np.ndarray:
    """Return user * items + item of each interaction, sorted; int64 [N]."""
    return np.sort(met.users.astype(np.int64) * items + met.items)


def fingerprint_of(met: Histories) -> str:
    """Return a SHA-256 over the items of each user."""
    return ArraySource({"user": met.users, "item": met.items}).fingerprint() if len(met.items) else json_sha256("none")
