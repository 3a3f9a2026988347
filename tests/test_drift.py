"""Sketches add up, distances are those of SciPy, and alarms come where something changed, and rarely where not."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from jaxlm.drift.distance import FEWEST, LEVEL, chi_squared, compare_sketches, kolmogorov_smirnov, psi, report
from jaxlm.drift.sketch import from_data, sketch, sketches_of
from jaxlm.errors import BadInput

WORDS = [f"w{number}" for number in range(50)]


def rows(seed, count, shift=0.0, zipf=1.0):
    """Inputs of three features: a normal one, one of few values, and words."""
    draw = np.random.default_rng(seed)
    chances = 1 / np.arange(1, len(WORDS) + 1) ** zipf
    words = draw.choice(WORDS, count, p=chances / chances.sum())
    numbers, lengths = draw.normal(shift, 1, count), draw.integers(1, 6, count)
    return [
        {"number": float(x), "length": float(n), "word": str(word)}
        for x, n, word in zip(numbers, lengths, words, strict=True)
    ]


def window(reference, found):
    return {name: one.of(row[name] for row in found) for name, one in reference.items()}


def test_a_sum_of_sketches_is_the_sketch_of_the_union():
    reference = sketches_of(rows(0, 500))
    parts = [rows(seed, 30 + seed) for seed in (1, 2, 3)]
    whole = window(reference, [row for part in parts for row in part])
    for name in reference:
        first, *rest = [window(reference, part)[name] for part in parts]
        assert sum(rest, start=first) == whole[name]
        assert sum(whole[name].counts) == 96
    with pytest.raises(ValueError, match="other bins"):
        reference["number"] + reference["length"]


def test_sketches_are_read_again_and_damage_is_named():
    reference = sketches_of(rows(0, 500))
    data = {name: one.to_data() for name, one in reference.items()}
    assert from_data(data, "here") == reference
    for broken in ([], {"a": 1}, {"a": {"bins": [1.0], "counts": [1]}}, {"a": {"bins": ["x"], "counts": ["y", 1]}}):
        with pytest.raises(BadInput, match="here is damaged"):
            from_data(broken, "here")


@pytest.mark.parametrize("shift", [0.0, 0.3, 4.0])
@pytest.mark.parametrize(("n", "m"), [(500, 100), (37, 2000), (1000, 1000)])
def test_kolmogorov_smirnov_is_that_of_scipy(n, m, shift):
    draw = np.random.default_rng(n)
    first, second = draw.normal(size=n), draw.normal(shift, 1, m)
    reference = sketch(first.tolist())
    found, p = kolmogorov_smirnov(reference, reference.of(second.tolist()))
    bins = [np.searchsorted(reference.bins, x) for x in (first, second)]
    binned, exact = (ks_2samp(*pair, method="asymp") for pair in (bins, (first, second)))
    assert found == pytest.approx(binned.statistic, abs=1e-12)
    assert p == pytest.approx(binned.pvalue, rel=1e-9)
    assert exact.statistic - 0.06 <= found <= exact.statistic + 1e-12  # a twentieth between two edges, and n steps


def test_of_few_values_kolmogorov_smirnov_loses_nothing():
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 9, 400), draw.integers(1, 12, 300)
    reference = sketch(first.astype(float).tolist())
    found, _ = kolmogorov_smirnov(reference, reference.of(second.astype(float).tolist()))
    assert found == pytest.approx(ks_2samp(first, second).statistic, abs=1e-12)


def test_chi_squared_is_that_of_scipy_where_no_category_is_rare():
    reference = sketch(["a"] * 60 + ["b"] * 30 + ["c"] * 25)
    found = reference.of(["a"] * 20 + ["b"] * 30 + ["other"] * 40)
    counts = [reference.counts, found.counts]
    assert chi_squared(reference, found) == pytest.approx(chi2_contingency(counts, correction=False).pvalue)
    assert chi_squared(reference, reference) == 1.0


def test_the_stability_index_is_its_formula_and_zero_for_the_same():
    reference = sketch([1.0, 2.0, 3.0, 4.0])
    assert psi(reference, reference) == 0.0
    found = reference.of([4.0, 4.0, 9.0])
    p, q = ((np.array(one.counts) + 0.5) for one in (reference, found))
    p, q = p / p.sum(), q / q.sum()
    assert psi(reference, found) == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_the_same_distribution_raises_alarms_at_most_at_the_stated_rate():
    alarms = small = 0
    tries = 400
    for seed in range(tries):
        reference = sketches_of(rows([seed, 0], 400))
        found = report(reference, window(reference, rows([seed, 1], 150)))
        alarms += any(one.verdict == "drift" for one in found)
        small += any(one.p < 0.05 for one in found)
    assert alarms <= 10  # 4 are expected at most; of 400 tries at 1 %, more than 10 come in 0.3 % of the cases
    assert small > 10  # so that the test can fail: the p-values are not all 1
    assert LEVEL == 0.01


def test_a_shift_raises_an_alarm_for_its_feature_alone():
    reference = sketches_of(rows(0, 1000))
    for seed in range(20):
        shifted = report(reference, window(reference, rows(100 + seed, 300, shift=0.8)))
        assert [one.feature for one in shifted if one.verdict == "drift"] == ["number"]
        words = report(reference, window(reference, rows(200 + seed, 300, zipf=2.0)))
        assert [one.feature for one in words if one.verdict == "drift"] == ["word"]


def test_what_leaves_the_range_of_a_constant_is_seen_and_few_values_say_nothing():
    reference = sketch([5.0] * 200)
    for value in (4.9, 5.1, float("nan")):
        assert compare_sketches("x", reference, reference.of([value] * FEWEST)).verdict == "drift"
        assert compare_sketches("x", reference, reference.of([value] * (FEWEST - 1))).verdict == "few"
    assert compare_sketches("x", reference, reference.of([5.0] * 200)).verdict == "same"
