"""Rank held-out items among others: hit rate, recall, nDCG and reciprocal rank, with ties broken at random.

Where scores are equal, a metric is its expectation over random orders of the equal items, computed exactly. So a
constant scorer scores what chance does, whatever the order of the items.

Shapes: B users, I items, T held-out items of a user, S items that a user has met.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.metrics.mean import Mean, Metrics


def rank_counts(scores_BI: jax.Array, targets_BT: jax.Array, seen_BS: jax.Array) -> dict[str, jax.Array]:
    """Count for each held-out item the items with a larger score and those with the same score.

    Items that the user has met do not count; other held-out items do. A score that is NaN is larger than all others,
    and as a held-out item's own it is the smallest: a model that computes NaN ranks nothing well.

    Args:
        scores_BI: of all items.
        targets_BT: held-out items, int32; -1 fills a row up.
        seen_BS: items that are left out of the ranking, int32; -1 fills a row up.

    Returns:
        "above" and "equal" int32 (B, T); `equal` has the held-out item itself, so it is at least 1.
    """
    items = scores_BI.shape[1]
    rows_B1 = jnp.arange(len(scores_BI))[:, None]
    places_BS = jnp.where(seen_BS < 0, items, seen_BS)
    ranked_BI = jnp.ones(scores_BI.shape, bool).at[rows_B1, places_BS].set(False, mode="drop")

    def count(target_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        own_B1 = jnp.take_along_axis(scores_BI, jnp.maximum(target_B, 0)[:, None], 1)
        above_B = (ranked_BI & ~(scores_BI <= own_B1)).sum(1, dtype=jnp.int32)
        equal_B = (ranked_BI & (scores_BI == own_B1)).sum(1, dtype=jnp.int32)
        lost_B = jnp.isnan(own_B1[:, 0])
        return jnp.where(lost_B, ranked_BI.sum(1, dtype=jnp.int32) - 1, above_B), jnp.where(lost_B, 1, equal_B)

    above_TB, equal_TB = jax.lax.map(count, targets_BT.T)
    return {"above": above_TB.T, "equal": equal_TB.T}


def ranking_values(
    above_BT: np.ndarray, equal_BT: np.ndarray, real_BT: np.ndarray, cutoffs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Compute the metrics of each user, in float64, as expectations over the orders of equal scores.

    hr@k is the probability that one of the first k is held out, recall@k the share of the held-out items among them,
    ndcg@k their discounted gain, 1 / log2(1 + rank) each, over that of an ideal order (Järvelin and Kekäläinen 2002),
    and mrr the reciprocal rank of the first of them.

    Args:
        above_BT: items with a larger score, see `rank_counts`.
        equal_BT: items with the same score, the item itself among them.
        real_BT: bool, where there is a held-out item; at least one in each row.
        cutoffs: each k.

    Returns:
        float64 (B,) by name.
    """
    above_BT = above_BT.astype(np.int64)
    equal_BT = np.where(real_BT, equal_BT, 1).astype(np.int64)
    count_B = real_BT.sum(1)
    discount = 1 / np.log2(np.arange(2, max(cutoffs) + 2))
    gains = np.concatenate([[0], np.cumsum(discount)])
    found: dict[str, np.ndarray] = {}
    for k in cutoffs:
        first, stop = np.minimum(above_BT, k), np.minimum(above_BT + equal_BT, k)
        inside_BT = np.where(real_BT, (stop - first) / equal_BT, 0)
        gain_BT = np.where(real_BT, (gains[stop] - gains[first]) / equal_BT, 0)
        found[f"hr@{k}"] = _hit(*_best(above_BT, equal_BT, real_BT), k)
        found[f"recall@{k}"] = inside_BT.sum(1) / count_B
        found[f"ndcg@{k}"] = gain_BT.sum(1) / gains[np.minimum(count_B, k)]
    found["mrr"] = _reciprocal(*_best(above_BT, equal_BT, real_BT))
    return found


def _best(above_BT: np.ndarray, equal_BT: np.ndarray, real_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of the best held-out items of each row: items above, items of the same score, and how many they are."""
    above_BT = np.where(real_BT, above_BT, np.iinfo(np.int64).max)
    best_B = above_BT.argmin(1)
    rows = np.arange(len(above_BT))
    above_B = above_BT[rows, best_B]
    return above_B, equal_BT[rows, best_B], (above_BT == above_B[:, None]).sum(1)


def _hit(above_B: np.ndarray, equal_B: np.ndarray, held_B: np.ndarray, k: int) -> np.ndarray:
    """Return the probability that one of `held` among `equal` items is in the first k - above places of them."""
    missed_B = np.ones(len(above_B))
    for place in range(k):  # one place after another has none of them
        free_B = np.maximum(equal_B - held_B - place, 0) / np.maximum(equal_B - place, 1)
        missed_B = np.where(place < np.minimum(k - above_B, equal_B), missed_B * free_B, missed_B)
    return 1 - missed_B


def _reciprocal(above_B: np.ndarray, equal_B: np.ndarray, held_B: np.ndarray) -> np.ndarray:
    """Return the expectation of 1 / (above + the first place that one of `held` among `equal` items has)."""
    values_B = 1 / (above_B + 1.0)
    for row in np.flatnonzero(equal_B > 1):
        places = np.arange(equal_B[row] - held_B[row] + 1)
        left = equal_B[row] - places
        chance = held_B[row] / left  # of having one at a place where there was none before
        reached = np.concatenate([[1.0], np.cumprod(1 - chance)[:-1]])
        values_B[row] = (reached * chance / (above_B[row] + 1 + places)).sum()
    return values_B


def ranking_metrics(
    above_BT: np.ndarray,
    equal_BT: np.ndarray,
    targets_BT: np.ndarray,
    mask_B: np.ndarray,
    cutoffs: Sequence[int],
) -> Metrics:
    """Sum the metrics of `ranking_values` over users, on the host.

    Integers come from the devices, and the sums are in float64, so batches and placements do not change a result.

    Args:
        above_BT: see `rank_counts`.
        equal_BT: see `rank_counts`.
        targets_BT: held-out items; -1 fills a row up.
        mask_B: 0 on rows of padding.
        cutoffs: each k.
    """
    rows = np.flatnonzero(mask_B)
    values = ranking_values(above_BT[rows], equal_BT[rows], targets_BT[rows] >= 0, cutoffs)
    return {name: Mean(np.float64(x.sum()), np.int64(len(x))) for name, x in values.items()}
