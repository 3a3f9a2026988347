import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.text.packing import Packed, best_fit
from jaxlm.data.text.windows import Stream
from jaxlm.errors import BadInput

documents = some.lists(some.integers(1, 40), min_size=1, max_size=30).filter(lambda sizes: max(sizes) > 1)


def stream(sizes):
    """Documents of these sizes; every token is its own place."""
    return Stream(np.arange(sum(sizes), dtype=np.uint16), np.cumsum([0, *sizes])[:-1], "digest")


def pieces(batches):
    """(first token, size) of every segment; checks that each is a run of neighbours with positions from 0."""
    for found in batches:
        for row in range(len(found["tokens"])):
            for number in range(1, found["segments"][row].max() + 1):
                inside = found["segments"][row] == number
                tokens = found["tokens"][row][inside]
                assert np.array_equal(tokens, np.arange(tokens[0], tokens[0] + len(tokens)))
                assert np.array_equal(found["targets"][row][inside], tokens + 1)
                assert np.array_equal(found["positions"][row][inside], np.arange(len(tokens)))
                assert found["mask"][row][inside].all()
                yield int(tokens[0]), len(tokens)
        padding = found["segments"] == 0
        assert not any(values[padding].any() for values in found.values())


def expected(sizes, length):
    """(first token, size) of every document's pieces."""
    ends = np.cumsum(sizes)
    return sorted(
        (first, min(length, end - 1 - first))
        for size, end in zip(sizes, ends.tolist(), strict=True)
        for first in range(end - size, end - 1, length)
    )


@given(documents, some.integers(1, 20), some.integers(1, 5), some.booleans())
def test_evaluation_has_every_document_exactly_once_and_never_mixes(sizes, length, batch, pack):
    data = InOrder(Packed(stream(sizes), length, pack), batch)
    assert sorted(pieces(data)) == expected(sizes, length)


@given(documents, some.integers(1, 20), some.integers(0, 3), some.booleans())
def test_every_epoch_has_every_document_exactly_once(sizes, length, epoch, pack):
    data = Shuffled(Packed(stream(sizes), length, pack), 1, seed=7)
    rows = range(epoch * len(data), (epoch + 1) * len(data))
    assert sorted(pieces(data[i] for i in rows)) == expected(sizes, length)


def test_neighbours_change_from_epoch_to_epoch():
    data = Shuffled(Packed(stream([5] * 40), 16), 10, seed=0)
    neighbours = [{tuple(row[row > 0]) for row in data[epoch]["tokens"]} for epoch in range(2)]
    assert not neighbours[0] & neighbours[1]


def test_batch_i_does_not_depend_on_what_was_read_before():
    data = Shuffled(Packed(stream([3, 9, 2, 7, 7, 4, 12]), 8), 3, seed=1)
    straight = [data[i] for i in range(9)]
    for i in (8, 0, 5, 2, 5):
        assert all(np.array_equal(values, straight[i][name]) for name, values in data[i].items())


@given(some.lists(some.integers(1, 16), min_size=1, max_size=60))
def test_best_fit_overfills_no_row_and_leaves_no_two_that_fit_together(sizes):
    sizes = np.sort(sizes)[::-1]
    rows = best_fit(sizes, 16)
    filled = np.sort(np.bincount(rows, sizes))
    assert filled.max() <= 16
    assert len(filled) < 2 or filled[0] + filled[1] > 16


def test_the_fill_ratio_is_the_share_of_places_with_a_token():
    assert Packed(stream([5, 5, 5]), 8).fill == 12 / 16
    assert Packed(stream([5, 5, 5]), 8, pack=False).fill == 12 / 24


def test_documents_without_targets_are_refused():
    with pytest.raises(BadInput, match="two tokens"):
        Packed(stream([1, 1]), 8)
    with pytest.raises(BadInput, match="at least 1"):
        Packed(stream([5, 5]), 0)
