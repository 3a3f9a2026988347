"""Draw items that a user has not met, as a function of (seed, epoch, row) alone.

B rows, K items a row, I items in all.
"""

import numpy as np

from jaxlm.data.epoch import Epoch

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words: np.ndarray) -> np.ndarray:
    """Return the finaliser of SplitMix64, a bijection of uint64 (Steele et al. 2014, OOPSLA, figure 5)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def row_words(epoch: Epoch, rows: np.ndarray, count: int) -> np.ndarray:
    """Return `count` random words for each row of an epoch: SplitMix64 started at a word of the seed of the noise.

    A row's words do not depend on the other rows, so neither on batches nor on shards.

    Returns:
        uint64 [B, count].
    """
    places = rows.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    return mix(epoch.noise_words(1, purpose=9)[0] + GOLDEN * places)


def draw_unmet(
    words: np.ndarray, users: np.ndarray, met: np.ndarray, items: int, *, distinct: bool = False
) -> np.ndarray:
    """Turn random words into items, uniform over those that a user has not met.

    An item that does not fit is drawn again from the mixed word; where more than half of what is left is to be drawn
    without repetition, all of it is put into a random order instead.

    Args:
        words: uint64 [B, K].
        users: int32 [B].
        met: sorted int64 codes, user * items + item, of what users have met.
        items: I.
        distinct: no item twice in a row.

    Returns:
        int32 [B, K]. It does not end where a user has met all items, and with `distinct` K must be left.
    """
    if not distinct:
        return _drawn(words, users, met, items, distinct=False)
    ends = np.searchsorted(met, users.astype(np.int64)[:, None] * items + [0, items])
    many = 2 * words.shape[1] > items - (ends[:, 1] - ends[:, 0])
    found = np.empty(words.shape, np.int32)
    found[~many] = _drawn(words[~many], users[~many], met, items, distinct=True)
    for row in np.flatnonzero(many):
        left = np.setdiff1d(np.arange(items), met[slice(*ends[row])] % items)
        order = np.argsort(mix(words[row, 0] + GOLDEN * (left + 1).astype(np.uint64)), kind="stable")
        found[row] = left[order[: words.shape[1]]]
    return found


def _drawn(words: np.ndarray, users: np.ndarray, met: np.ndarray, items: int, *, distinct: bool) -> np.ndarray:
    """Draw until all items fit, see `draw_unmet`."""
    words = words.copy()
    while True:
        drawn = (words % np.uint64(items)).astype(np.int64)
        codes = users.astype(np.int64)[:, None] * items + drawn
        refused = np.zeros(codes.shape, bool)
        if len(met):
            refused = met[np.minimum(np.searchsorted(met, codes), len(met) - 1)] == codes
        if distinct:
            refused |= _repeated(drawn)
        if not refused.any():
            return drawn.astype(np.int32)
        words[refused] = mix(words[refused] + GOLDEN)


def _repeated(drawn: np.ndarray) -> np.ndarray:
    """Return where a value is in its row already, further to the left; bool [B, K]."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ranked = np.take_along_axis(drawn, order, 1)
    same = np.zeros(drawn.shape, bool)
    np.put_along_axis(same, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], 1)
    return same
