"""Ranking metrics against brute force over all orders of equal scores, and the values that known scorers must have."""

from itertools import pairwise, permutations
from math import log2

import jax
import numpy as np
import pytest

from jaxlm.metrics import compute, merge, rank_counts, ranking_metrics, ranking_values

CUTOFFS = (1, 3, 5)
COUNTS = jax.jit(rank_counts)


def values(scores, targets, seen, cutoffs=CUTOFFS):
    counts = COUNTS(scores, targets, seen)
    return ranking_values(np.asarray(counts["above"]), np.asarray(counts["equal"]), np.asarray(targets) >= 0, cutoffs)


def filled(items):
    """Three items, of which some may be -1."""
    return np.pad(items, (0, 3 - len(items)), constant_values=-1)


def by_hand(order, held, k):
    """hr, recall, ndcg of the first k of one order, and the reciprocal rank."""
    places = [place for place, item in enumerate(order, 1) if item in held]
    first = [place for place in places if place <= k]
    ideal = sum(1 / log2(1 + place) for place in range(1, min(len(held), k) + 1))
    gain = sum(1 / log2(1 + place) for place in first)
    return bool(first), len(first) / len(held), gain / ideal, 1 / places[0]


def test_metrics_are_expectations_over_all_orders_of_equal_scores():
    draw = np.random.default_rng(0)
    for _ in range(40):
        scores = draw.integers(0, 3, 7).astype(np.float32)
        items = draw.permutation(7)
        held, seen = items[: draw.integers(1, 4)], items[4 : draw.integers(4, 7)]
        ranked = [item for item in range(7) if item not in seen]
        orders = [order for order in permutations(ranked) if all(scores[a] >= scores[b] for a, b in pairwise(order))]
        found = values(scores[None], filled(held)[None], filled(seen)[None])
        for k in CUTOFFS:
            wanted = np.mean([by_hand(order, set(held), k) for order in orders], axis=0)
            names = (f"hr@{k}", f"recall@{k}", f"ndcg@{k}", "mrr")
            np.testing.assert_allclose([found[name][0] for name in names], wanted, rtol=1e-12)


def test_a_constant_scorer_scores_chance_and_an_oracle_one():
    items, k = 100, 10
    targets, seen = np.array([[7], [99]]), np.array([[1, 2, 3, -1], [0, 5, 6, 8]])
    left = items - (seen >= 0).sum(1)
    constant = values(np.zeros((2, items), np.float32), targets, seen, (k,))
    np.testing.assert_allclose(constant["hr@10"], k / left, rtol=1e-12)
    np.testing.assert_allclose(constant["ndcg@10"], sum(1 / log2(1 + r) for r in range(1, k + 1)) / left, rtol=1e-12)
    np.testing.assert_allclose(constant["mrr"], [sum(1 / r for r in range(1, n + 1)) / n for n in left], rtol=1e-12)
    scores = np.random.default_rng(0).random((2, items), np.float32)
    np.put_along_axis(scores, targets, 2.0, 1)
    scores[np.repeat([0, 1], [3, 4]), seen[seen >= 0]] = 3.0  # what was met is no rival, however large its score
    assert all((x == 1).all() for x in values(scores, targets, seen, (k,)).values())


def test_several_held_out_items_of_an_oracle_are_an_ideal_order():
    scores = np.array([[0.1, 5, 4, 3, 0.2]], np.float32)
    found = values(scores, np.array([[1, 2, 3]]), np.zeros((1, 0), np.int32), (2, 3))
    assert found["ndcg@2"] == found["ndcg@3"] == found["recall@3"] == found["mrr"] == 1
    assert found["recall@2"] == pytest.approx(2 / 3)


def test_a_random_scorer_has_its_known_expectation():
    users, items, k = 4000, 50, 10
    scores = np.random.default_rng(1).random((users, items), np.float32)
    targets = np.random.default_rng(2).integers(0, items, (users, 1))
    found = values(scores, targets, np.zeros((users, 0), np.int32), (k,))
    error = 4 * np.sqrt(0.2 * 0.8 / users)
    assert found["hr@10"].mean() == pytest.approx(k / items, abs=error)
    assert found["mrr"].mean() == pytest.approx(sum(1 / r for r in range(1, items + 1)) / items, abs=error)


def test_scores_that_are_not_numbers_rank_nothing_well():
    scores = np.full((1, 5), np.nan, np.float32)
    found = values(scores, np.array([[2]]), np.zeros((1, 0), np.int32), (4,))
    assert found["hr@4"] == 0
    assert found["mrr"] == pytest.approx(1 / 5)
    scores = np.array([[1, np.nan, 0]], np.float32)
    assert values(scores, np.array([[0]]), np.zeros((1, 0), np.int32), (1,))["hr@1"] == 0


def test_sums_over_ragged_batches_are_those_of_one_batch():
    draw = np.random.default_rng(3)
    above, equal = draw.integers(0, 30, (11, 3)), draw.integers(1, 4, (11, 3))
    targets = np.where(draw.random((11, 3)) < 0.6, 5, -1)
    targets[:, 0] = 5
    whole = compute(ranking_metrics(above, equal, targets, np.ones(11), CUTOFFS))
    parts = []
    for rows in np.array_split(np.arange(11), 4):  # 3, 3, 3 and 2 rows, filled up with rows that do not count
        take = np.pad(rows, (0, 4 - len(rows)))
        parts.append(ranking_metrics(above[take], equal[take], targets[take], np.arange(4) < len(rows), CUTOFFS))
    assert compute(merge(*parts)) == pytest.approx(whole, rel=1e-14)
