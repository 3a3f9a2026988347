"""Interactions as arrays: pairs of a user and an item, with a time where it is known.

N interactions, U users, I items.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxlm.errors import BadInput


class InteractionLog(NamedTuple):
    """Each user and item at most once together, in the order of users; those of a user in the order of the file.

    Attributes:
        users: int32 [N], places in `user_names`.
        items: int32 [N], places in `item_names`.
        times: float64 [N], or None where the source has none.
        user_names: U of them.
        item_names: I of them, the catalogue.
        repeated: interactions left out because the same user and item came before.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]
    repeated: int = 0

    def select(self, chosen: np.ndarray) -> "InteractionLog":
        """Return the interactions where `chosen` bool [N] is true, with the names of all."""
        times = None if self.times is None else self.times[chosen]
        return self._replace(users=self.users[chosen], items=self.items[chosen], times=times)


def make_log(
    users: Sequence[str], items: Sequence[str], times: Sequence[float] | np.ndarray | None, name: str
) -> InteractionLog:
    """Return a log of named users and items. Of equal pairs the earliest is kept, of equally early ones the first.

    Args:
        users: of each interaction the name of its user.
        items: of each interaction the name of its item.
        times: of each interaction; None: not known.
        name: of the source, for a message.

    Raises:
        BadInput: there are no interactions.
    """
    if not len(users):
        raise BadInput(f"{name} has no interactions: add some")
    (user_ids, user_names), (item_ids, item_names) = _numbered(users), _numbered(items)
    moments = None if times is None else np.asarray(times, np.float64)
    pairs = user_ids.astype(np.int64) * len(item_names) + item_ids
    order = np.arange(len(pairs)) if moments is None else np.argsort(moments, kind="stable")
    _, first = np.unique(pairs[order], return_index=True)
    kept = np.sort(order[first])
    kept = kept[np.argsort(user_ids[kept], kind="stable")]
    times = None if moments is None else moments[kept]
    return InteractionLog(user_ids[kept], item_ids[kept], times, user_names, item_names, len(pairs) - len(kept))


def _numbered(names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the place of each name among the sorted names, int32, and these."""
    known = sort_names(set(names))
    places = {name: place for place, name in enumerate(known)}
    return np.fromiter((places[name] for name in names), np.int32, len(names)), known


def sort_names(names: set[str]) -> tuple[str, ...]:
    """Return names in the order of their numbers where all are whole numbers, of any length, else of their letters."""
    if not all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names))
    return tuple(sorted(names, key=lambda name: (len(name.lstrip("0")), name.lstrip("0"), name)))


class Histories(NamedTuple):
    """The items of each user, one after another.

    Attributes:
        starts: int64 [U + 1]; those of user u are `items[starts[u] : starts[u + 1]]`.
        items: int32 [N].
    """

    starts: np.ndarray
    items: np.ndarray

    @classmethod
    def from_pairs(cls, users: np.ndarray, items: np.ndarray, count: int) -> "Histories":
        """Return the items of each of `count` users from pairs in the order of users."""
        return cls(np.searchsorted(users, np.arange(count + 1)), items)

    @property
    def counts(self) -> np.ndarray:
        """Return the number of items of each user; int64 [U]."""
        return np.diff(self.starts)

    @property
    def users(self) -> np.ndarray:
        """Return the user of each item; int32 [N]."""
        return np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), self.counts)

    def padded(self, users: np.ndarray, width: int) -> np.ndarray:
        """Return the last `width` items of some users, filled up with -1 at the end; int32 [B, width]."""
        stops, counts = self.starts[users + 1], np.minimum(self.counts[users], width)
        places = np.arange(width)
        rows = np.where(places < counts[:, None], (stops - counts)[:, None] + places, 0)
        found = self.items[rows] if len(self.items) else np.zeros(rows.shape, np.int32)
        return np.where(places < counts[:, None], found, -1).astype(np.int32)
