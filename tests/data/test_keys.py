"""A key for each example: a function of the seed, the epoch and the row, and of nothing else."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jaxlm.data import Arrays, Draws, DrawsSpec, Examples, batches
from jaxlm.data.epoch import Epoch
from jaxlm.data.keys import evaluation_keys, training_keys
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.ragged import Bucketed, ragged
from jaxlm.data.text.packing import Packed
from jaxlm.data.text.windows import Stream, Windows
from jaxlm.errors import BadInput

ROWS = 23
SIZES = np.arange(ROWS) % 7 + 1


def table(batch, seed=None, noise=None):
    arrays = {"row": np.arange(ROWS)}
    data = Examples(arrays, batch) if seed is None else Shuffled(Arrays(arrays, batch).source, batch, seed, noise)
    return data.with_keys()


def bucketed(batch, seed=None, noise=None):
    tokens = [np.full(size, row, np.int32) for row, size in enumerate(SIZES)]
    values = {"row": np.arange(ROWS), "mask": np.ones(ROWS, np.float32)}
    return Bucketed(ragged({"tokens": tokens}, values), batch, (2, 4, 7), seed, noise).with_keys()


MAKERS = pytest.mark.parametrize("make", [table, bucketed])


def by_row(data, start, stop):
    """{(epoch, row): key} of the batches from `start` to `stop`, of which each epoch is whole or cut off."""
    found, seen = {}, [0] * ROWS
    for index in range(start, stop):
        batch = data[index]
        assert (batch["keys"].shape, batch["keys"].dtype) == ((len(batch["row"]), 2), np.uint32)
        for row, key, real in zip(batch["row"], batch["keys"], batch.get("mask", np.ones(ROWS)), strict=False):
            if real:
                found[seen[row], int(row)] = tuple(key.tolist())
                seen[row] += 1
            else:
                assert not key.any()  # padding
    return found


@MAKERS
@settings(max_examples=10)
@given(size=some.integers(1, ROWS), seed=some.integers(0, 2**40), noise=some.one_of(some.none(), some.integers(0, 9)))
def test_a_training_key_is_a_function_of_noise_epoch_and_row(make, size, seed, noise):
    found = by_row(make(size, seed, noise), 0, 2 * -(-ROWS // size))
    for (epoch, row), key in found.items():
        assert key == tuple(training_keys(Epoch(seed if noise is None else noise, epoch), ROWS)[row].tolist())
    assert len(set(found.values())) == len(found) >= 2 * ROWS


@MAKERS
@settings(max_examples=10)
@given(size=some.integers(1, ROWS))
def test_an_evaluation_key_is_a_function_of_the_row(make, size):
    data = make(size)
    found = by_row(data, 0, len(data))
    assert found == {(0, row): tuple(key.tolist()) for row, key in enumerate(evaluation_keys(ROWS))}
    assert len(set(found.values())) == ROWS
    assert not set(found.values()) & {tuple(key.tolist()) for key in training_keys(Epoch(0, 0), ROWS)}


def test_the_bits_of_the_keys_are_fixed():
    """They are part of what a run computes; a change of them would change every augmented run."""
    assert training_keys(Epoch(3, 1), 2).tolist() == [[3295830071, 558981374], [3130653000, 2069640812]]
    assert np.array_equal(training_keys(Epoch(0, 1, noise=3), 2), training_keys(Epoch(3, 1), 2))
    assert evaluation_keys(2).tolist() == [[2521864485, 2614735622], [3369028032, 2384046378]]


STREAM = Stream(np.arange(200) % 50, np.array([0, 30, 90]), "numbers")
SOURCES = {
    "table": lambda training: Arrays({"row": np.arange(20)}, 1).source,
    "windows": lambda training: Windows(STREAM, 8, training),
    "packed": lambda training: Packed(STREAM, 16),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("training", [True, False])
def test_keys_follow_the_rows_of_any_source_whatever_the_batch_size(source, training):
    rows = SOURCES[source](training)

    def keys(size):
        data = (Shuffled(rows, size, 4) if training else InOrder(rows, size)).with_keys()
        return np.concatenate([data[index]["keys"] for index in range(len(rows) // size)])

    one, three = keys(1), keys(3)
    assert np.array_equal(one[: len(three)], three)
    assert len(np.unique(one, axis=0)) == len(one)


@MAKERS
@pytest.mark.parametrize("seed", [None, 2])
def test_keys_change_nothing_else_and_follow_shards_and_workers(make, seed):
    data = make(6, seed)
    plain = type(data)(**{**vars(data), "keys": False})
    for index in range(len(data)):
        batch = data[index]
        assert batch.keys() - plain[index].keys() == {"keys"}
        for name, values in plain[index].items():
            assert np.array_equal(batch[name], values)
        for part in range(3):
            shard = data.shard(part, 3)[index]
            assert all(np.array_equal(shard[name], values[part::3]) for name, values in batch.items())
    assert data.fingerprint() == plain.fingerprint()
    for index, batch in enumerate(batches(data, 0, 3, workers=1)):
        assert np.array_equal(batch["keys"], data[index]["keys"])


def test_noise_reaches_the_keys_alone():
    for make in (table, bucketed):
        one, other = make(6, 2)[1], make(6, 2, 9)[1]
        assert np.array_equal(one["row"], other["row"])
        assert not np.array_equal(one["keys"], other["keys"])
        assert make(6, 2).fingerprint() == make(6, 2, 2).fingerprint() != make(6, 2, 9).fingerprint()


# Draws.


@given(some.integers(1, 40), some.integers(0, 2**40), some.integers(0, 2**30))
def test_draws_are_a_function_of_seed_and_index(count, seed, index):
    data = Draws(count, seed)
    batch = data[index]
    assert set(batch) == {"keys"}
    assert (batch["keys"].shape, batch["keys"].dtype) == ((count, 2), np.uint32)
    assert np.array_equal(batch["keys"], Draws(count, seed)[index]["keys"])
    both = np.concatenate([batch["keys"], data[index + 1]["keys"], Draws(count, seed + 1)[index]["keys"]])
    assert len(np.unique(both, axis=0)) == 3 * count
    assert (len(data), len(jax.random.wrap_key_data(batch["keys"], impl="threefry2x32"))) == (1, count)


def test_draws_are_dealt_out_to_processes_and_told_apart_by_their_fingerprints():
    data = Draws(12, 5)
    for part in range(4):
        assert np.array_equal(data.shard(part, 4)[7]["keys"], data[7]["keys"][part::4])
    prints = {Draws(*arguments).fingerprint() for arguments in ((12, 5), (12, 6), (8, 5))}
    assert len(prints | {data.shard(1, 4).fingerprint()}) == 3


def test_an_evaluation_of_draws_is_the_same_whatever_the_batch_and_the_seed():
    def keys(batch):
        found = list(DrawsSpec(eval_draws=10, eval_batch=batch).eval())
        mask = np.concatenate([one["mask"] for one in found])
        return np.concatenate([one["keys"] for one in found])[mask > 0]

    assert np.array_equal(keys(4), keys(10))
    assert np.array_equal(keys(4), evaluation_keys(10))
    for spec in (DrawsSpec(batch=0), DrawsSpec(eval_draws=0)):
        with pytest.raises(BadInput, match="give at least 1"):
            spec.check(None)
