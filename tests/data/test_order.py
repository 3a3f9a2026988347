import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jaxlm.data import Arrays, Examples
from jaxlm.errors import BadInput

sizes = some.tuples(some.integers(1, 40), some.integers(1, 40)).map(lambda pair: (max(pair), min(pair)))


def numbers(size):
    return {"x": np.arange(size), "y": np.arange(size, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)}


@given(sizes, some.integers(0, 2**32), some.integers(0, 3))
def test_every_epoch_is_a_permutation_of_all_rows(size_and_batch, seed, epoch):
    size, batch = size_and_batch
    data = Arrays(numbers(size), batch, seed)
    start, stop = epoch * size, (epoch + 1) * size
    rows = np.concatenate([data[i]["x"] for i in range(start // batch, -(-stop // batch))])
    first = start % batch
    assert sorted(rows[first : first + size]) == list(range(size))


def test_epochs_and_seeds_differ():
    first, second = Arrays(numbers(100), 100, seed=0), Arrays(numbers(100), 100, seed=1)
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert not np.array_equal(first[0]["x"], second[0]["x"])


@given(sizes, some.integers(0, 5), some.permutations(range(12)))
def test_batch_i_does_not_depend_on_what_was_read_before(size_and_batch, seed, order):
    size, batch = size_and_batch
    data = Arrays(numbers(size), batch, seed)
    straight = [Arrays(numbers(size), batch, seed)[i] for i in range(12)]
    for i in order:
        assert all(np.array_equal(data[i][name], straight[i][name]) for name in ("x", "y"))


@given(some.integers(1, 4), some.integers(1, 4), some.integers(1, 3), some.integers(0, 9))
def test_shards_of_a_batch_are_disjoint_and_their_union_is_the_whole(count, again, rows, index):
    batch = count * again * rows
    for data in (Arrays(numbers(batch * 3 + 1), batch, seed=3), Examples(numbers(batch * 10), batch)):
        shards = [data.shard(part, count) for part in range(count)]
        for part, shard in enumerate(shards):
            assert np.array_equal(shard[index]["x"], data[index]["x"][part::count])
            assert shard.fingerprint() == data.fingerprint()
            assert len(shard) == len(data)
            deeper = [shard.shard(inner, again)[index]["x"] for inner in range(again)]
            assert sorted(np.concatenate(deeper)) == sorted(shard[index]["x"])


@given(some.integers(1, 50), some.integers(1, 20))
def test_evaluation_gives_every_example_exactly_once_in_order(size, batch):
    batches = list(Examples(numbers(size), batch))
    assert len(batches) == len(Examples(numbers(size), batch)) == -(-size // batch)
    mask = np.concatenate([found["mask"] for found in batches])
    assert mask.dtype == np.float32
    assert mask.sum() == size
    assert np.array_equal(np.concatenate([found["x"] for found in batches])[mask > 0], np.arange(size))
    assert all(found["x"].shape == (batch,) and found["y"].shape == (batch, 3) for found in batches)
    assert not np.concatenate([found["y"] for found in batches])[mask == 0].any()


def test_a_mask_of_the_arrays_own_is_kept_and_padding_is_zero_in_it():
    (found,) = Examples({"x": np.ones((2, 2)), "mask": np.array([[1, 0], [1, 1]], np.float32)}, 3)
    assert found["mask"].tolist() == [[1, 0], [1, 1], [0, 0]]


def test_the_fingerprint_changes_with_content_batch_and_seed_and_only_then():
    same = Arrays(numbers(9), 3, 0).fingerprint()
    assert same == Arrays(dict(reversed(numbers(9).items())), 3, 0).fingerprint()
    changed = numbers(9) | {"x": np.arange(9)[::-1]}
    others = [
        Arrays(changed, 3, 0),
        Arrays(numbers(9), 4, 0),
        Arrays(numbers(9), 3, 1),
        Arrays({name: values.astype(np.float64) for name, values in numbers(9).items()}, 3, 0),
        Examples(numbers(9), 3),
        Examples(numbers(9), 4),
    ]
    assert len({same, *(other.fingerprint() for other in others)}) == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arrays(numbers(3), 4), "larger than the 3 rows"),
        (lambda: Arrays(numbers(3), 0), "at least 1"),
        (lambda: Arrays(numbers(3), 1, seed=-1), "seed of -1"),
        (lambda: Examples(numbers(3), 0), "at least 1"),
        (lambda: Arrays({}, 1), "same number of rows"),
        (lambda: Arrays({"x": np.zeros(0)}, 1), "at least 1"),
        (lambda: Arrays({"x": np.zeros(3), "y": np.zeros(2)}, 1), "same number of rows"),
        (lambda: Arrays(numbers(9), 6).shard(0, 4), "does not divide by 4"),
    ],
)
def test_bad_arrays_and_batches_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_evaluation_ends_and_no_data_counts_from_behind():
    with pytest.raises(IndexError):
        Examples(numbers(3), 2)[2]
    for data in (Arrays(numbers(3), 2), Examples(numbers(3), 2)):
        with pytest.raises(IndexError):
            data[-1]
        with pytest.raises(IndexError):
            data.shard(2, 2)


@settings(max_examples=5)
@given(some.integers(0, 2**63))
def test_any_seed_will_do(seed):
    assert len(Arrays(numbers(5), 5, seed)[10**9]["x"]) == 5
