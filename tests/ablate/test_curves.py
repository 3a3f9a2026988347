"""Learning curves as means over seeds, against scipy."""

import numpy as np
import pytest
from scipy import stats

from jaxlm.ablate.report.curves import MOST_DRAWN, average, finite, thin


def test_mean_and_interval_at_each_update_are_over_the_curves_that_have_it():
    rng = np.random.default_rng(0)
    updates = [range(2, 41, 2), range(2, 31, 2), range(2, 41, 4), range(2, 61, 2), [1]]
    curves = [[(update, float(rng.normal())) for update in some] for some in updates]
    points = average(curves)
    assert [point.update for point in points] == sorted({update for some in updates for update in some})
    for point in points:
        values = [value for curve in curves for update, value in curve if update == point.update]
        assert point.n == len(values)
        np.testing.assert_allclose(point.mean, np.mean(values), rtol=1e-12)
        if point.n == 1:
            assert (point.low, point.high) == (None, None)
        else:
            ends = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            np.testing.assert_allclose((point.low, point.high), ends, rtol=1e-9)
    assert {point.n for point in points} == {1, 2, 3, 4}
    assert average([]) == average([[], []]) == []


def test_what_is_not_finite_is_no_point():
    assert finite([[1, 0.5], [2, None], [3, float("nan")], [4, float("inf")], [5, 0]]) == [(1, 0.5), (5, 0)]


@pytest.mark.parametrize("count", [0, 1, 2, 299, 300, 301, 598, 599, 1000, 4321])
def test_a_long_curve_is_thinned_evenly_and_keeps_its_ends(count):
    points = list(range(count))
    kept = thin(points)
    assert len(kept) <= MOST_DRAWN
    assert [*kept[:1], *kept[-1:]] == [*points[:1], *points[-1:]]
    assert len(set(np.diff(kept[1:]))) <= 1
    assert count > MOST_DRAWN or kept == points
