"""Metrics that merge themselves, metrics whose arrays are added, and what cannot be merged."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import BadInput
from jaxlm.steps import Mean, compute, merge, require_sums


class Counts(NamedTuple):
    """A histogram: its arrays are added."""

    counts: np.ndarray

    def compute(self):
        return {f"bin_{number}": float(count) for number, count in enumerate(self.counts)}


class Ranked(NamedTuple):
    """The area under the ROC curve, of scores that are collected."""

    scores: tuple[float, ...]
    labels: tuple[bool, ...]

    def merge(self, other):
        return Ranked(self.scores + other.scores, self.labels + other.labels)

    def compute(self):
        pairs = [
            (s > t) + (s == t) / 2
            for s, yes in zip(self.scores, self.labels, strict=True)
            for t, no in zip(self.scores, self.labels, strict=True)
            if yes and not no
        ]
        return sum(pairs) / len(pairs) if pairs else float("nan")


class Sum(NamedTuple):
    """The sum of two means, each with its own weight."""

    first: Mean
    second: Mean

    def compute(self):
        return self.first.compute() + self.second.compute()


counts = st.lists(st.integers(0, 99), min_size=3, max_size=3).map(lambda n: Counts(np.array(n)))
ranked = st.lists(st.tuples(st.integers(0, 9).map(float), st.booleans()), max_size=5).map(
    lambda rows: Ranked(tuple(s for s, _ in rows), tuple(y for _, y in rows))
)
parts = st.builds(lambda c, r: {"counts": c, "auc": r}, counts, ranked)


def numbers(metrics):
    return compute(metrics)


def same(one, other):
    np.testing.assert_equal(numbers(one), numbers(other))  # NaN is NaN


@given(parts, parts, parts)
def test_merging_is_associative(a, b, c):
    one, other = merge(merge(a, b), c), merge(a, merge(b, c))
    assert one["auc"] == other["auc"] == merge(a, b, c)["auc"]
    np.testing.assert_array_equal(one["counts"].counts, other["counts"].counts)


@given(parts, parts)
def test_the_order_of_parts_changes_no_number(a, b):
    same(merge(a, b), merge(b, a))


@given(st.lists(st.tuples(st.integers(0, 9).map(float), st.booleans()), min_size=1), st.lists(st.integers(0, 20)))
def test_a_metric_that_collects_is_that_of_all_examples_however_they_are_cut(rows, cuts):
    def of(part):
        return {"auc": Ranked(tuple(float(s) for s, _ in part), tuple(bool(y) for _, y in part))}

    pieces = [rows[i:j] for i, j in zip([0, *sorted(cuts)], [*sorted(cuts), len(rows)], strict=True)]
    same(merge(*map(of, pieces)), of(rows))


def test_its_own_merge_is_what_is_called_even_where_shapes_would_add():
    assert merge({"auc": Ranked((1.0,), (True,))}, {"auc": Ranked((2.0,), (False,))})["auc"].scores == (1.0, 2.0)


def test_metrics_in_a_metric_are_added_and_divided_apart():
    whole = merge({"loss": Sum(Mean(1.0, 1), Mean(6.0, 2))}, {"loss": Sum(Mean(2.0, 3), Mean(0.0, 0))})
    assert compute(whole) == {"loss": 3 / 4 + 3}


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (4,)])
def test_arrays_of_other_shapes_are_refused_where_addition_would_broadcast(shape):
    with pytest.raises(ValueError, match=r"shapes \(3,\) and .* cannot be added: give the metric a `merge`"):
        merge({"counts": Counts(np.ones(3))}, {"counts": Counts(np.ones(shape))})


def test_other_names_are_refused():
    with pytest.raises(ValueError, match=r"\['auc', 'loss'\] and \['loss'\] cannot be merged: their names differ"):
        merge({"loss": Mean(1.0, 1.0), "auc": Ranked((), ())}, {"loss": Mean(1.0, 1.0)})


def test_only_metrics_whose_arrays_are_added_pass_where_they_are():
    sums = {"loss": Mean(1.0, 1.0), "counts": Counts(np.ones(3))}
    assert require_sums(sums) is sums
    with pytest.raises(BadInput, match=r"^metric auc \(Ranked\) has a `merge` of its own[^\n]*`score`[^\n]*$"):
        require_sums(sums | {"auc": Ranked((), ())})
