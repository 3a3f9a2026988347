"""The area under the ROC curve of an attack, and its interval."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jaxlm.metrics.membership import measure_membership


def draw(seed, shift, sizes=(60, 90), rounded=False):
    random = np.random.default_rng(seed)
    members, others = random.normal(shift, 1, sizes[0]), random.normal(0, 1, sizes[1])
    return (members.round(), others.round()) if rounded else (members, others)


@pytest.mark.parametrize("rounded", [False, True])
def test_the_area_is_scikit_learns_ties_included(rounded):
    members, others = draw(0, 0.7, rounded=rounded)
    labels = np.repeat([1, 0], [len(members), len(others)])
    expected = roc_auc_score(labels, np.concatenate([members, others]))
    assert measure_membership(members, others).auc == pytest.approx(expected, abs=1e-12)


def test_the_interval_covers_the_truth_in_19_of_20_samples():
    truth = 0.6893  # P(N(0.7, 1) > N(0, 1)) = Phi(0.7 / sqrt 2)
    found = [measure_membership(*draw(seed, 0.7)) for seed in range(400)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400) < covered < 0.985


def test_what_is_found_with_few_wrong_alarms():
    others = np.arange(1000.0)
    members = np.array([0.0, 500.0, 989.5, 998.5, 2000.0])
    assert measure_membership(members, others).found == (0.6, 0.4)  # above 989, and above 998
    assert measure_membership(others, others).auc == 0.5
