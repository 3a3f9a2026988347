import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.data.epoch import Epoch
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.text.windows import Stream, Windows
from jaxlm.errors import BadInput

documents = some.lists(some.integers(1, 30), min_size=1, max_size=12)


def stream(sizes):
    """Documents of these sizes; every token is its own place."""
    starts = np.cumsum([0, *sizes])[:-1] if len(sizes) > 1 else None
    return Stream(np.arange(sum(sizes), dtype=np.uint16), starts, "digest")


def owner(sizes, tokens):
    """The document of each token of `stream(sizes)`."""
    return np.repeat(np.arange(len(sizes)), sizes)[tokens]


@given(some.integers(2, 300), some.integers(1, 40), some.integers(0, 3))
def test_an_epoch_of_training_cuts_disjoint_windows_that_leave_out_little(size, length, epoch):
    if size <= length:
        return
    windows = Windows(stream([size]), length, training=True)
    found = windows.take(np.arange(len(windows)), Epoch(5, epoch))
    assert np.array_equal(found["targets"], found["tokens"] + 1)
    tokens = found["tokens"].ravel()
    assert np.array_equal(tokens, np.arange(tokens[0], tokens[0] + len(tokens)))
    assert size - len(tokens) < 2 * length + 1
    assert set(found) == {"tokens", "targets"}


def test_the_phase_changes_from_epoch_to_epoch():
    windows = Windows(stream([1000]), 50, training=True)
    assert len({int(windows.take(np.array([0]), Epoch(0, epoch))["tokens"][0, 0]) for epoch in range(20)}) > 5


@given(documents, some.integers(1, 40), some.integers(1, 7))
def test_evaluation_counts_every_target_exactly_once(sizes, length, batch):
    if sum(sizes) < 2:
        return
    data = InOrder(Windows(stream(sizes), length, training=False), batch)
    counted = np.concatenate([found["targets"][found["mask"] > 0] for found in data])
    inner = [target for target in range(1, sum(sizes)) if owner(sizes, target) == owner(sizes, target - 1)]
    assert counted.tolist() == inner
    for found in data:
        assert found["tokens"].shape == found["targets"].shape == found["mask"].shape == (batch, length)
        assert ("segments" in found) == (len(sizes) > 1)


@given(documents.filter(lambda sizes: len(sizes) > 1), some.integers(1, 40), some.integers(0, 2))
def test_segments_number_the_documents_of_each_row_and_no_counted_target_crosses(sizes, length, seed):
    if sum(sizes) <= length:
        return
    data = Shuffled(Windows(stream(sizes), length, training=True), 1, seed)
    for i in range(min(2 * len(data), 30)):
        found = data[i]
        own = owner(sizes, found["tokens"][0])
        assert np.array_equal(found["segments"][0], np.unique(own, return_inverse=True)[1] + 1)
        assert np.array_equal(found["mask"][0] > 0, own == owner(sizes, found["targets"][0]))
        assert {name: values.dtype.name for name, values in found.items()} == {
            "tokens": "int32",
            "targets": "int32",
            "segments": "int32",
            "mask": "float32",
        }


def test_padding_is_zero_in_every_array():
    (found,) = InOrder(Windows(stream([2, 3]), 3, training=False), 3)
    assert found["tokens"].tolist() == [[0, 1, 2], [3, 0, 0], [0, 0, 0]]
    assert found["targets"].tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert found["segments"].tolist() == [[1, 1, 2], [1, 0, 0], [0, 0, 0]]
    assert found["mask"].tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0]]


def test_joined_documents_are_one():
    joined = Windows(stream([5, 5, 5]).joined(), 4, training=True)
    assert set(joined.take(np.array([0]), Epoch(0, 0))) == {"tokens", "targets"}
    assert joined.fingerprint() != Windows(stream([5, 5, 5]), 4, training=True).fingerprint()


@pytest.mark.parametrize(
    ("size", "length", "training", "message"),
    [(5, 5, True, "need 6, and the training text has 5"), (1, 5, False, "evaluation"), (5, 0, True, "at least 1")],
)
def test_too_short_a_text_is_refused(size, length, training, message):
    with pytest.raises(BadInput, match=message):
        Windows(stream([size]), length, training)
