import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jaxlm.data.ragged import Bucketed, check_widths, ragged
from jaxlm.errors import BadInput


def rows(sizes):
    """Rows whose tokens tell their number: row r holds r + 1, size times."""
    tokens = [np.full(size, number + 1, np.int32) for number, size in enumerate(sizes)]
    return ragged({"tokens": tokens}, {"mask": np.ones(len(sizes), np.float32)})


sizes_of_rows = some.lists(some.integers(1, 20), min_size=1, max_size=40)


def numbers(batch):
    """The rows that a batch holds, padding left out; checks that each is whole and alone."""
    for tokens, segments, mask in zip(batch["tokens"], batch["segments"], batch["mask"], strict=True):
        filled = tokens[segments == 1]
        assert (tokens[segments == 0] == 0).all()
        assert mask == (len(filled) > 0)
        if len(filled):
            assert len(set(filled.tolist())) == 1
            yield int(filled[0]) - 1, len(filled)


@settings(max_examples=25)
@given(sizes_of_rows, some.integers(1, 9), some.sampled_from([(20,), (4, 8, 20), (1, 2, 3, 30)]), some.integers(0, 3))
def test_every_row_comes_once_an_epoch_in_a_width_that_holds_it(sizes, batch, widths, epoch):
    for data in (Bucketed(rows(sizes), batch, widths, seed=1), Bucketed(rows(sizes), batch, widths)):
        first = epoch * len(data) if data.seed is not None else 0
        batches = [data[first + place] for place in range(len(data))]
        assert sorted(found for one in batches for found in numbers(one)) == sorted(enumerate(sizes))
        assert {one["tokens"].shape[1] for one in batches} <= set(widths)
        assert all(len(one["tokens"]) == batch for one in batches)


@settings(max_examples=25)
@given(sizes_of_rows, some.integers(1, 9))
def test_at_most_one_batch_for_each_width_holds_rows_that_need_less(sizes, batch):
    widths = (2, 5, 10, 20)
    data = Bucketed(rows(sizes), batch, widths, seed=0)
    straddling = []
    for place in range(len(data)):
        found = data[place]
        needed = {widths[np.searchsorted(widths, size)] for _, size in numbers(found)}
        assert max(needed) == found["tokens"].shape[1]
        straddling += [found["tokens"].shape[1]] if len(needed) > 1 else []
    assert len(straddling) == len(set(straddling))


@settings(max_examples=25)
@given(sizes_of_rows, some.integers(1, 4), some.integers(0, 200), some.integers(0, 3))
def test_batches_by_places_hold_every_row_once_and_as_many_as_fit(sizes, batch, places, epoch):
    data = Bucketed(rows(sizes), batch, (2, 5, 10, 20), seed=1, places=places)
    batches = [data[epoch * len(data) + place] for place in range(len(data))]
    assert sorted(found for one in batches for found in numbers(one)) == sorted(enumerate(sizes))
    for one in batches:
        count, width = one["tokens"].shape
        assert count % batch == 0
        assert count == batch or count * width <= places
        assert (count + batch) * width > places
    assert sum(len(list(numbers(one))) < len(one["tokens"]) for one in batches) <= 1  # only the last one is padded


@settings(max_examples=25)
@given(sizes_of_rows, some.integers(1, 9))
def test_in_evaluation_every_row_has_the_narrowest_width_that_holds_it(sizes, batch):
    widths = (2, 5, 10, 20)
    data = Bucketed(rows(sizes), batch, widths)
    for place in range(len(data)):
        found = data[place]
        needed = {widths[np.searchsorted(widths, size)] for _, size in numbers(found)}
        assert needed == {found["tokens"].shape[1]}
    assert len(data) <= -(-len(sizes) // batch) + len(widths) - 1


@settings(max_examples=25)
@given(sizes_of_rows, some.integers(1, 5), some.integers(0, 5))
def test_seeds_differ_in_rows_and_not_in_widths(sizes, batch, seed):
    one, other = (Bucketed(rows(sizes), batch, (3, 7, 20), seed=s) for s in (seed, seed + 1))
    for place in range(2 * len(one)):
        assert one[place]["tokens"].shape == other[place]["tokens"].shape
    again = Bucketed(rows(sizes), batch, (3, 7, 20), seed=seed)
    for name, values in again[3].items():
        assert np.array_equal(values, one[3][name])


def test_epochs_and_seeds_shuffle():
    data = Bucketed(rows([3] * 64), 8, (4,), seed=0)
    first, second = ([row for i in range(8) for row, _ in numbers(data[start + i])] for start in (0, 8))
    assert first != second != list(range(64))
    assert first != [row for i in range(8) for row, _ in numbers(Bucketed(data.source, 8, (4,), seed=1)[i])]


@settings(max_examples=25)
@given(sizes_of_rows, some.sampled_from([1, 2, 3]))
def test_shards_are_together_the_whole(sizes, count):
    whole = Bucketed(rows(sizes), 6, (5, 20), seed=2)
    parts = [whole.shard(index, count) for index in range(count)]
    for place in range(len(whole)):
        for name, values in whole[place].items():
            for index, part in enumerate(parts):
                assert np.array_equal(part[place][name], values[index::count])
    assert {part.fingerprint() for part in parts} == {whole.fingerprint()}
    with pytest.raises(BadInput, match="does not divide by 4 processes"):
        whole.shard(0, 4)


def test_fingerprints_tell_all_that_shapes_batches():
    source = rows([1, 2, 3])
    variants = [
        Bucketed(source, 2, (4,)),
        Bucketed(source, 2, (4,), seed=0),
        Bucketed(source, 2, (4,), seed=1),
        Bucketed(source, 3, (4,)),
        Bucketed(source, 2, (3, 4)),
        Bucketed(rows([1, 3, 2]), 2, (4,)),
        Bucketed(source, 2, (4,), places=16),
    ]
    assert len({data.fingerprint() for data in variants}) == len(variants)
    assert Bucketed(rows([1, 2, 3]), 2, (4,)).fingerprint() == variants[0].fingerprint()


def test_the_fill_counts_what_the_batches_hold():
    data = Bucketed(rows([1, 5, 3, 8, 8, 2, 7]), 2, (3, 8), seed=0)
    batches = [data[place] for place in range(len(data))]
    held = sum(batch["segments"].sum() for batch in batches) / sum(batch["segments"].size for batch in batches)
    assert data.fill == pytest.approx(held)


def test_batches_past_the_end_of_an_evaluation_are_none():
    data = Bucketed(rows([1, 2, 3]), 2, (4,))
    for index in (-1, 2):
        with pytest.raises(IndexError):
            data[index]


@pytest.mark.parametrize("widths", [(), (0, 4), (8, 4), (4, 4)])
def test_widths_that_do_not_ascend_are_refused(widths):
    with pytest.raises(BadInput, match="data.widths"):
        check_widths(widths)


def test_several_updates_in_one_program_need_one_width():
    check_widths((4,), repeat=2)
    with pytest.raises(BadInput, match="give one width, or run.repeat 1"):
        check_widths((4, 8), repeat=2)


def test_rows_that_do_not_fit_are_refused():
    for make, message in (
        (lambda: Bucketed(rows([9]), 1, (8,)), "a row of 9 is longer"),
        (lambda: Bucketed(rows([1]), 0, (8,)), "a batch of 0"),
        (lambda: Bucketed(rows([1]), 1, (8,), seed=-1), "a seed of -1"),
    ):
        with pytest.raises(BadInput, match=message):
            make()
