"""How far the distribution of a feature is from another one: PSI, Kolmogorov-Smirnov, chi-squared, and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxlm.drift.sketch import Sketch

LEVEL = 0.01  # chance of any alarm of a report where nothing changed
SMALL, LARGE = 0.1, 0.2  # of the PSI: below the first is the same, above the second has drifted
FEWEST = 100  # values of which something is said
EXPECTED = 5.0  # in a cell of a chi-squared test at least
DriftVerdict = Literal["few", "same", "moved", "drift"]


@dataclass(frozen=True)
class Drift:
    """How a feature changed.

    Attributes:
        feature: its name.
        values: of it in the window.
        psi: the population stability index.
        ks: the Kolmogorov-Smirnov statistic of numbers; None for categories.
        p: of that statistic, or of a chi-squared test of categories, where nothing changed.
        verdict: "few" (below `FEWEST` values); "drift" (PSI of at least `LARGE`, and p below `LEVEL` over the number of
            features); "moved" (the same with `SMALL`); "same".
    """

    feature: str
    values: int
    psi: float
    ks: float | None
    p: float
    verdict: DriftVerdict


def report(reference: Mapping[str, Sketch], window: Mapping[str, Sketch]) -> list[Drift]:
    """Compare each feature of a window with a reference; features that only one of them has are left out.

    Law: where both are drawn from one distribution, the chance that any feature has the verdict "drift" is at most
    `LEVEL` (Bonferroni).
    """
    names = [name for name in reference if name in window and window[name].total]
    return [compare_sketches(name, reference[name], window[name], LEVEL / len(names)) for name in names]


def compare_sketches(name: str, reference: Sketch, window: Sketch, level: float = LEVEL) -> Drift:
    """Compare the sketch of a window with that of a reference."""
    index = psi(reference, window)
    ks, p = (None, chi_squared(reference, window)) if reference.named else kolmogorov_smirnov(reference, window)
    verdict: DriftVerdict = "same"
    if window.total < FEWEST:
        verdict = "few"
    elif p < level and index >= SMALL:
        verdict = "drift" if index >= LARGE else "moved"
    return Drift(name, window.total, index, ks, p, verdict)


def psi(reference: Sketch, window: Sketch) -> float:
    """Return the population stability index, sum (q - p) ln(q / p) over bins, with half a count added to each.

    Lewis 1994, An Introduction to Credit Scoring. Where nothing changed its mean is about (bins - 1)(1/n + 1/m), so
    that a small window has a large one by chance.
    """
    shares = []
    for counts in (reference.counts, window.counts):
        smooth = np.array(counts, np.float64) + 0.5
        shares.append(smooth / smooth.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def kolmogorov_smirnov(reference: Sketch, window: Sketch) -> tuple[float, float]:
    """Return the two-sample statistic at the edges of the bins, and its p-value.

    Law: both are those of `scipy.stats.ks_2samp` (asymptotic) on the numbers of the bins. On the values themselves the
    statistic is at least that, so the p-value is never too small.
    """
    from scipy.stats import kstwo

    n, m = reference.total, window.total
    apart = np.cumsum(np.array(reference.counts) / n) - np.cumsum(np.array(window.counts) / m)
    statistic = float(np.abs(apart).max())
    return statistic, float(kstwo.sf(statistic, np.round(n * m / (n + m))))


def chi_squared(reference: Sketch, window: Sketch) -> float:
    """Return the p-value of a chi-squared test of two samples; categories that are too rare for it are put together."""
    from scipy.stats import chi2

    table = np.array([reference.counts, window.counts], np.float64)
    enough = np.outer(table.sum(1), table.sum(0)).min(0) / table.sum() >= EXPECTED
    table = np.concatenate([table[:, enough], table[:, ~enough].sum(1, keepdims=True)], 1)
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1))
