"""The statistics of an ablation, against simulation, scipy, statsmodels and a reference of their own."""

import gc
import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.report.formats import FORMATS
from jaxlm.ablate.report.statistics import (
    LEVEL,
    compare,
    holm,
    is_significant,
    pairs_needed,
    sign_flip,
    smallest_p,
    summarise,
    t_interval,
)
from jaxlm.ablate.report.table import ablation_table


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Statsmodels collects garbage at every call of multipletests, which takes longer than all else here."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def flips(count):
    """All choices of signs, [2^count, count]."""
    return np.array(list(itertools.product((1, -1), repeat=count)), np.float64)


def reference(differences):
    """The two-sided p over the last axis, by definition: the share of sign choices with a sum as far from zero."""
    sums = np.abs(differences @ flips(differences.shape[-1]).T)
    return (sums >= np.abs(differences.sum(-1, keepdims=True)) - 1e-9).mean(-1)


def reference_holm(ps):
    """Holm over the last axis: the k-th smallest of m times m - k, then made to rise."""
    order = np.argsort(ps, axis=-1)
    count = ps.shape[-1]
    rising = np.maximum.accumulate(np.take_along_axis(ps, order, -1) * (count - np.arange(count)), axis=-1)
    found = np.empty_like(ps)
    np.put_along_axis(found, order, np.minimum(rising, 1), axis=-1)
    return found


@pytest.mark.parametrize("count", [3, 5, 10, 20])
def test_the_interval_covers_the_mean_of_normal_data_as_often_as_it_says(count):
    values = np.random.default_rng(count).normal(3, 2, (40_000, count))
    _, low, high = t_interval(values)
    assert 0.94 <= ((low <= 3) & (high >= 3)).mean() <= 0.96


def test_false_claims_stay_below_the_level_after_holm_with_five_arms():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4_000, 6, 8)) + rng.normal(size=(4_000, 1, 8))  # a base and five arms, no difference
    corrected = reference_holm(reference(values[:, 1:] - values[:, :1]))
    assert 0.01 < (corrected < 0.05).any(-1).mean() <= 0.05
    for experiment in range(0, 4_000, 400):
        base, *arms = values[experiment].tolist()
        ps = [compare(arm, base, maximize=True).p for arm in arms]
        np.testing.assert_allclose(ps, reference(values[experiment, 1:] - values[experiment, :1]), rtol=1e-12)
        np.testing.assert_allclose(holm(ps), corrected[experiment], rtol=1e-12)


def test_a_true_difference_is_found():
    values = np.random.default_rng(1).normal(size=(2, 8))
    found = compare((values[0] + 5).tolist(), values[1].tolist(), maximize=True)
    assert found.p == 2 / 2**8
    assert is_significant([8], [found.p]) == [True]
    assert found.improvement == 1


def test_summaries_and_tests_agree_with_scipy_on_fixed_cases():
    arm, base = [0.91, 0.93, 0.92, 0.95, 0.90, 0.94, 0.97], [0.90, 0.91, 0.93, 0.92, 0.89, 0.92, 0.93]
    found, expected = summarise(arm), stats.t.interval(0.95, 6, loc=np.mean(arm), scale=stats.sem(arm))
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-12)
    np.testing.assert_allclose((found.n, found.mean, found.std), (7, np.mean(arm), np.std(arm, ddof=1)), rtol=1e-12)
    compared, paired = compare(arm, base, maximize=True), stats.ttest_rel(arm, base).confidence_interval()
    np.testing.assert_allclose((compared.difference.low, compared.difference.high), (paired.low, paired.high))
    cents = (np.round(np.array([arm, base]) * 100)).astype(int)
    exact = stats.permutation_test(
        (cents[0] - cents[1],), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert compared.p == exact.pvalue
    assert compared.improvement == 6 / 7
    assert compare(arm, base, maximize=False).improvement == 1 / 7
    ps = [0.01, None, 0.04, 0.03, 0.5]
    assert holm(ps)[1] is None
    np.testing.assert_allclose(
        [p for p in holm(ps) if p is not None], multipletests([0.01, 0.04, 0.03, 0.5], method="holm")[1]
    )
    assert holm([None, None]) == [None, None]


def test_ties_among_multiples_of_one_fraction_are_not_broken_by_rounding():
    rng = np.random.default_rng(2)
    for _ in range(40):
        right = rng.integers(300, 340, (2, 8))
        differences = right[0] / 360 - right[1] / 360
        assert sign_flip(differences) == reference((right[0] - right[1]).astype(float)), right


def test_what_failed_is_left_out_with_its_pair():
    nothing = compare([None, 1.0], [1.0, float("nan")], maximize=True)
    assert (nothing.difference.n, nothing.p, nothing.improvement) == (0, None, None)
    some = compare([1.0, None, 3.0, 5.0, 7.0], [2.0, 2.0, float("inf"), 5.0, 5.0], maximize=True)
    assert (some.difference.n, some.improvement) == (3, 0.5)
    assert some.difference.mean == pytest.approx(1 / 3)
    assert summarise([2.0, None]) == summarise([2.0])
    assert (summarise([2.0]).mean, summarise([2.0]).low) == (2.0, None)
    with pytest.raises(ValueError, match="argument 2"):
        compare([1.0], [1.0, 2.0], maximize=True)


@pytest.mark.parametrize("arms", [1, 2, 3, 4, 6, 7, 25])
def test_a_claim_is_refused_exactly_where_the_clearest_result_would_not_be_significant(arms):
    for pairs in range(1, 13):
        ps = [float(reference(np.arange(1.0, pairs + 1)))] * arms
        best = arms * min(1, 2 / 2**pairs)
        assert is_significant([pairs] * arms, holm(ps)) == [True if best < 0.05 else None] * arms
        assert (best < 0.05) == (pairs >= pairs_needed(arms))
    assert is_significant([12] * 3, [0.05, None, 0.04]) == [False, None, True]


def test_no_result_of_any_pairs_is_below_what_the_bound_allows():
    rng = np.random.default_rng(4)
    claimed = 0
    for _ in range(100):
        pairs = rng.integers(0, 11, rng.integers(1, 6)).tolist()
        means = rng.choice([0.0, 3.0, 30.0], len(pairs))
        ps = [float(reference(rng.normal(mean, 1, n))) if n else None for mean, n in zip(means, pairs, strict=True)]
        corrected = holm(ps)
        found = is_significant(pairs, corrected)
        for claim, p, n in zip(found, corrected, pairs, strict=True):
            assert (p is None) == (n == 0)
            assert claim == (p < LEVEL) if claim is not None else p is None or p >= LEVEL
        claimed += found.count(True)
    assert claimed > 30


def test_the_fewest_pairs_for_a_claim():
    assert [pairs_needed(arms) for arms in (1, 2, 3, 4, 6, 7, 12, 13, 100)] == [6, 7, 7, 8, 8, 9, 9, 10, 12]
    assert pairs_needed(1_638) == 16
    assert pairs_needed(1_639) is None
    for pairs in (1, 5, 16):
        assert smallest_p(pairs) == sign_flip(np.arange(1.0, pairs + 1))
    assert all(smallest_p(pairs) <= sign_flip(np.arange(1.0, pairs + 1)) for pairs in (17, 24))  # drawn
    assert sign_flip(np.zeros(7)) == 1


def table_of(values):
    """The table of arms with values at seeds 0, 1, ... ; the first is the base."""
    arms = [Arm("base"), *(Arm(f"arm {index}", ("--x", str(index))) for index in range(1, len(values)))]
    records = {}
    for arm, found in zip(arms, values, strict=True):
        for seed, value in enumerate(found):
            why = "it broke" if value is None else None
            record = {"arm": arm.name, "seed": seed, "identity": "0", "parts": {}, "failed": why, "pruned": None}
            records[arm.name, seed] = {**record, "curves": {}, "final": {"m": value}}
    return ablation_table(arms, range(len(values[0])), records, "m", True)


def test_the_table_says_how_many_seeds_its_arms_need():
    clear = [[float(seed + 10 * arm) for seed in range(6)] for arm in range(5)]
    table = table_of(clear)
    assert [row["against_base"]["significant"] for row in table["arms"][1:]] == [None] * 4  # 4 * 2/2^6 = 0.125
    for name in ("txt", "md", "tex"):
        text = FORMATS[name](table)
        assert text.count("not claimed") == 4
        assert "Not claimed: 4 of 4 comparisons have too few pairs: 4 arms need 8 seeds or more." in text
    table = table_of([[*row, row[-1] + 0.5, row[-1] + 1.5] for row in clear])
    assert [row["against_base"]["significant"] for row in table["arms"][1:]] == [True] * 4
    assert not any("Not claimed" in line for line in table["foot"])
    assert any("4 x 2/2^n" in line and "takes 8 pairs" in line for line in table["foot"])
    assert any("2/2^n with 1 arm" in line and "takes 6 pairs" in line for line in table_of(clear[:2])["foot"])
    lost = table_of([clear[0], [None] * 6])
    assert lost["arms"][1]["against_base"]["significant"] is None
    assert "Not claimed: 1 of 1 comparisons have too few pairs: 1 arm needs 6 seeds or more." in lost["foot"]


def test_more_pairs_than_can_be_enumerated_are_drawn_and_always_the_same():
    differences = np.random.default_rng(3).normal(0.3, 1, 20)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert sign_flip(np.abs(differences)) == pytest.approx(2 / 100_000)
