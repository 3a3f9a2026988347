"""Paired statistics of an ablation: means and t-intervals, an exact sign-flip test, Holm's correction.

A pair is the two values that one seed gave, one of an arm and one of the base. A value that is None or not finite comes
from a cell that failed: it is left out, with its pair, and counted by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

Values = Sequence[float | None]

CONFIDENCE = 0.95
LEVEL = 0.05
MOST_EXACT = 16  # pairs whose 2^n sign flips are all enumerated
DRAWS = 99_999  # random sign flips for more pairs than that


@dataclass(frozen=True)
class Summary:
    """Count, mean, standard deviation (n - 1) and ends of the 95 % t-interval of some values; None where too few."""

    n: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """An arm compared with the base.

    Attributes:
        difference: Summary of the paired differences, arm minus base.
        p: p-value of `sign_flip`, None without a pair.
        improvement: Share of the pairs in which the arm is better, a tie counting half; None without a pair.
    """

    difference: Summary
    p: float | None
    improvement: float | None


def t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and both ends of the 95 % t-interval over the last axis.

    Args:
        values: float64 [..., n] with n of at least 2.
    """
    from scipy.stats import t

    count = values.shape[-1]
    mean = values.mean(-1)
    half = t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(-1, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def summarise(values: Values) -> Summary:
    """Return count, mean, standard deviation and 95 % t-interval of the finite values."""
    found = np.array([value for value in values if is_finite(value)], np.float64)
    if len(found) < 2:
        return Summary(len(found), float(found[0]) if len(found) else None, None, None, None)
    mean, low, high = map(float, t_interval(found))
    return Summary(len(found), mean, float(found.std(ddof=1)), low, high)


def compare(arm: Values, base: Values, maximize: bool) -> Comparison:
    """Compare an arm with the base over the pairs of which both values are finite.

    Raises:
        ValueError: arm and base have different lengths.
    """
    pairs = [(one, other) for one, other in zip(arm, base, strict=True) if is_finite(one) and is_finite(other)]
    differences = np.array([one - other for one, other in pairs], np.float64)
    if not len(differences):
        return Comparison(summarise([]), None, None)
    better = (differences > 0) if maximize else (differences < 0)
    improvement = (int(better.sum()) + int((differences == 0).sum()) / 2) / len(differences)
    return Comparison(summarise(differences.tolist()), sign_flip(differences), improvement)


def sign_flip(differences: np.ndarray) -> float:
    """Return the p-value of the two-sided paired permutation test of a mean of zero.

    Under the null hypothesis an arm is exchangeable with the base, so each of the 2^n choices of signs is as likely; p
    is the share of them whose mean is as far from zero. All are counted up to `MOST_EXACT` pairs, and `DRAWS` random
    ones, always the same, beyond. Means are compared after rounding to ten digits of the largest difference: metrics
    such as accuracy are multiples of one fraction, so ties are common, and rounding errors of the differences would
    break them in favour of a smaller p. Fisher 1935, The Design of Experiments, section 21.

    Args:
        differences: float64 [n], n of at least 1.
    """
    from scipy.stats import permutation_test

    largest = np.abs(differences).max()
    if not largest:
        return 1.0

    def statistic(values: np.ndarray, axis: int) -> np.ndarray:
        return np.round(values.mean(axis) / largest, 10)

    if len(differences) == 1:  # scipy asks for two observations; with one, both signs are as far from zero
        return 1.0
    draws = np.inf if len(differences) <= MOST_EXACT else DRAWS
    found = permutation_test(
        (differences,), statistic, permutation_type="samples", vectorized=True, n_resamples=draws, batch=4096, rng=0
    )
    return float(found.pvalue)


def smallest_p(pairs: int) -> float:
    """Return a bound that no p-value of `sign_flip` is below, for a number of pairs.

    It is 2/2^n where all sign choices are counted, reached when all differences have one sign, and 2/(DRAWS + 1)
    beyond.
    """
    return min(1.0, 2 / 2**pairs) if pairs <= MOST_EXACT else 2 / (DRAWS + 1)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for there being several arms, so that the chance of any false claim stays below the level.

    None, an arm without a pair, stays None and does not count as a test. Holm 1979, Scandinavian Journal of Statistics
    6.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in ps if p is not None]
    corrected = iter(multipletests(tested, method="holm")[1].tolist() if tested else [])
    return [None if p is None else next(corrected) for p in ps]


def is_significant(pairs: Sequence[int], corrected: Sequence[float | None]) -> list[bool | None]:
    """Return for each arm whether its difference may be claimed at the 5 % level after Holm's correction.

    "Not significant" would say that a difference was looked for and not found. Where the smallest p that the pairs can
    reach is above the level, no difference however large would have been found: with m arms of n pairs each, Holm
    leaves at best m * 2/2^n. As no corrected p falls when any p rises, those of `smallest_p` bound every result.

    Args:
        pairs: Number of pairs of each arm.
        corrected: What `holm` made of the p-values of the arms.

    Returns:
        True, False, or None where no result of these pairs could have been significant, so that nothing is claimed.
    """
    bounds = holm([smallest_p(count) if count else None for count in pairs])
    found = zip(bounds, corrected, strict=True)
    return [None if bound is None or p is None or bound >= LEVEL else p < LEVEL for bound, p in found]


def pairs_needed(arms: int) -> int | None:
    """Return the fewest pairs with which every one of `arms` arms could be significant.

    6 for one arm, 7 for two or three, 8 for four to six; None where it takes more than `MOST_EXACT`.
    """
    return next((count for count in range(1, MOST_EXACT + 1) if arms * smallest_p(count) < LEVEL), None)


def is_finite(value: float | None) -> TypeGuard[float]:
    """Return whether a cell gave a number."""
    return value is not None and bool(np.isfinite(value))
