"""Poisson sampling: every row in a batch by chance alone, as a function of (seed, update)."""

import numpy as np
import pytest
from scipy.stats import chi2

from jaxlm.data import Arrays
from jaxlm.data.arrays import ArraySource
from jaxlm.data.order import Shuffled
from jaxlm.data.poisson import Poisson, sampled_source
from jaxlm.data.ragged import Bucketed, ragged
from jaxlm.errors import BadInput

ROWS = 200


def source(rows=ROWS):
    return ArraySource({"x": np.arange(1, rows + 1), "y": np.ones((rows, 2), np.float32)})


def poisson(rate=0.3, limit=90, batch=96, updates=400, seed=0, noise=None, rows=ROWS):
    return Poisson(source(rows), rate, limit, batch, updates, seed, noise)


def included(data, updates):
    """Whether each row is in each batch; bool [updates, rows]."""
    found = np.zeros((updates, len(data.source)), bool)
    for index in range(updates):
        found[index, data.rows(index)] = True
    return found


def test_a_row_is_included_with_the_rate_and_independently_of_rows_and_batches():
    rate, updates = 0.3, 400
    there = included(poisson(rate, updates=updates), updates).astype(float)
    bound = chi2.isf(1e-6, ROWS)
    spread = rate * (1 - rate)
    of_rows = ((there.mean(0) - rate) ** 2).sum() * updates / spread
    assert chi2.isf(1 - 1e-6, ROWS) < of_rows < bound  # neither more nor less even than chance
    sizes = there.sum(1)
    assert sizes.mean() == pytest.approx(rate * ROWS, abs=5 * np.sqrt(ROWS * spread / updates))
    assert sizes.var() == pytest.approx(ROWS * spread, rel=5 * np.sqrt(2 / updates))  # 0 for batches of a fixed size
    for one, other in ((there[:, :-1], there[:, 1:]), (there[:-1], there[1:])):
        correlation = ((one - rate) * (other - rate)).mean() / spread
        assert abs(correlation) < 5 / np.sqrt(one.size)


def test_the_batch_has_the_rows_a_mask_and_zeros():
    data = poisson()
    batch, rows = data[7], data.rows(7)
    assert batch["x"].shape == (96,)
    assert batch["mask"].tolist() == [1.0] * len(rows) + [0.0] * (96 - len(rows))
    assert batch["mask"].dtype == np.float32
    assert np.array_equal(batch["x"][: len(rows)], rows + 1)
    assert not any(values[len(rows) :].any() for values in batch.values())


def test_a_batch_without_rows_is_a_batch():
    data = poisson(rate=1e-3, limit=5, batch=8, rows=10)
    batch = data[0]
    assert not len(data.rows(0))
    assert not any(values.any() for values in batch.values())
    assert batch["y"].shape == (8, 2)


def test_batches_are_functions_of_seed_and_update():
    first, again, other = poisson(), poisson(), poisson(seed=1)
    assert all(np.array_equal(first[9][name], values) for name, values in again[9].items())
    assert not np.array_equal(first.rows(9), first.rows(8))
    assert not np.array_equal(first.rows(9), other.rows(9))
    shaken = poisson(noise=5)
    assert np.array_equal(first.rows(9), shaken.rows(9))
    assert not np.array_equal(first[9]["keys"], shaken[9]["keys"])
    both = np.intersect1d(first.rows(8), first.rows(9))[0]
    keys = [first[index]["keys"][list(first.rows(index)).index(both)] for index in (8, 9)]
    assert not np.array_equal(*keys)  # a row draws other noise each time


def test_shards_are_disjoint_and_the_whole_together():
    data = poisson()
    for count in (2, 4):
        parts = [data.shard(index, count) for index in range(count)]
        for name, whole in data[3].items():
            assert all(np.array_equal(part[3][name], whole[i::count]) for i, part in enumerate(parts))
        assert {part.fingerprint() for part in parts} == {data.fingerprint()}
    deeper = data.shard(1, 2).shard(1, 2)
    assert np.array_equal(deeper[3]["x"], data[3]["x"][3::4])
    with pytest.raises(BadInput, match="does not divide by 5"):
        data.shard(0, 5)


def test_the_fingerprint_is_of_the_sampling_and_not_of_the_room_for_it():
    same = poisson().fingerprint()
    assert poisson(batch=128).fingerprint() == same
    others = [poisson(rate=0.31), poisson(limit=89), poisson(updates=401), poisson(seed=1), poisson(noise=1)]
    assert len({same, *(other.fingerprint() for other in others)}) == 6


def test_rows_beyond_the_limit_are_left_out_and_batches_beyond_the_accounting_refused():
    data = poisson(limit=20, batch=20)
    assert len(data.rows(0)) > 20
    assert np.array_equal(data[0]["x"], data.rows(0)[:20] + 1)
    with pytest.raises(IndexError, match="accounted for the batches 0 to 399"):
        data[400]


def test_rows_of_texts_are_padded_to_the_narrowest_width_that_fits_all():
    tokens = [np.full(size, size, np.int32) for size in (2, 3, 9, 2)]
    labels = {"label": np.arange(4, dtype=np.int32), "mask": np.ones(4, np.float32)}
    rows = sampled_source(Bucketed(ragged({"tokens": tokens}, labels), 2, (4, 12), 0))
    assert rows.take(np.array([0, 1]), None)["tokens"].shape == (2, 4)
    batch = Poisson(rows, 1.0, 4, 6, 1)[0]
    assert batch["tokens"].shape == (6, 12)
    assert batch["mask"].tolist() == [1, 1, 1, 1, 0, 0]
    windows = Bucketed(ragged({"tokens": tokens}, labels | {"mask": np.full(4, 0.5, np.float32)}), 2, (12,), 0)
    with pytest.raises(BadInput, match="leave out data.stride"):
        sampled_source(windows)


def test_other_data_are_refused():
    assert isinstance(sampled_source(Arrays({"x": np.arange(9)}, 3)), ArraySource)
    assert len(sampled_source(Shuffled(source(), 5))) == ROWS
    with pytest.raises(BadInput, match="Poisson sampling, and list has no rows"):
        sampled_source([1, 2])
