"""What the values of an arm say: mean and interval, and how the arm compares with the base, pair by pair.

A pair is the two values that one seed gave, one of an arm and one of the base. A value that is None or not finite is a
cell that failed: it is left out, with its pair, and counted by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float | None]

CONFIDENCE = 0.95
LEVEL = 0.05
LEAST_PAIRS = 6  # 2 / 2^5 = 0.0625 is above LEVEL, 2 / 2^6 = 0.03125 below
MOST_EXACT = 16  # pairs whose 2^n sign flips are all enumerated
DRAWS = 99_999  # random sign flips for more pairs than that


@dataclass(frozen=True)
class Summary:
    """Some numbers: how many, mean, standard deviation (n - 1), ends of the 95 % t-interval; None where too few."""

    n: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """An arm against the base.

    difference: of the pairs, arm minus base.    p: of the paired test, None without a pair.
    improvement: share of the pairs in which the arm is better, a tie counting half; None without a pair.
    """

    difference: Summary
    p: float | None
    improvement: float | None


def t_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and ends of the 95 % t-interval over the last axis; float64 [..., n] with n of at least 2."""
    from scipy.stats import t

    count = values.shape[-1]
    mean = values.mean(-1)
    half = t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(-1, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def summarise(values: Values) -> Summary:
    """Mean, deviation and interval of the values that are finite."""
    found = np.array([value for value in values if is_finite(value)], np.float64)
    if len(found) < 2:
        return Summary(len(found), float(found[0]) if len(found) else None, None, None, None)
    mean, low, high = map(float, t_interval(found))
    return Summary(len(found), mean, float(found.std(ddof=1)), low, high)


def compare(arm: Values, base: Values, maximize: bool) -> Comparison:
    """An arm against the base over the pairs of which both values are finite; ValueError for other lengths."""
    pairs = [(one, other) for one, other in zip(arm, base, strict=True) if is_finite(one) and is_finite(other)]
    differences = np.array([one - other for one, other in pairs if one is not None and other is not None], np.float64)
    if not len(differences):
        return Comparison(summarise([]), None, None)
    better = (differences > 0) if maximize else (differences < 0)
    improvement = (int(better.sum()) + int((differences == 0).sum()) / 2) / len(differences)
    return Comparison(summarise(differences.tolist()), sign_flip(differences), improvement)


def sign_flip(differences: np.ndarray) -> float:
    """The p-value of the two-sided paired permutation test: how often random signs give a mean as far from zero.

    Under the null hypothesis an arm is exchangeable with the base, so each of the 2^n choices of signs is as likely.
    All are counted up to `MOST_EXACT` pairs, and `DRAWS` random ones, always the same, beyond. Means are compared after
    rounding to ten digits of the largest difference: metrics such as accuracy are multiples of one fraction, so ties
    are common, and rounding errors of the differences would break them in favour of a smaller p.

    float64 [n] of differences. Source: Fisher 1935, The Design of Experiments, section 21.
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


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for there being several arms, so that the chance of any false claim stays below the level.

    None, an arm without a pair, stays None and does not count as a test. Source: Holm 1979, Scandinavian Journal of
    Statistics 6.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in ps if p is not None]
    corrected = iter(multipletests(tested, method="holm")[1].tolist() if tested else [])
    return [None if p is None else next(corrected) for p in ps]


def is_significant(pairs: int, corrected: float | None) -> bool | None:
    """Whether a difference may be claimed at the 5 % level, or None where there are too few pairs to claim anything.

    The smallest two-sided p of n pairs is 2 / 2^n, when all differences have one sign. Five pairs can reach 0.0625 and
    no less, so below six pairs the test cannot tell any difference, however large, and a claim would rest on the
    normality of the t-interval alone.
    """
    return None if pairs < LEAST_PAIRS or corrected is None else corrected < LEVEL


def is_finite(value: float | None) -> bool:
    """Whether a cell gave a number."""
    return value is not None and bool(np.isfinite(value))
