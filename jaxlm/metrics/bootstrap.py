"""Intervals of means over examples that were drawn from more of their kind: the bootstrap (Efron 1979)."""

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, groups: Sequence[int] | np.ndarray | None = None, draws: int = 4000
) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of a mean, the same in every call.

    Args:
        values: one number an example; [N].
        groups: of each example the number of its group, such as an article: then whole groups are drawn, and examples
            of one group need not be independent. None: each example is a group.
        draws: samples with replacement.
    """
    found = np.asarray(values, np.float64)
    _, owners = np.unique(np.arange(len(found)) if groups is None else np.asarray(groups), return_inverse=True)
    totals, sizes = np.bincount(owners, found), np.bincount(owners)
    draw = np.random.default_rng(0)
    means = []
    for _ in range(draws):
        chosen = draw.integers(0, len(sizes), len(sizes))
        means.append(totals[chosen].sum() / sizes[chosen].sum())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
