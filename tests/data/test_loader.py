import threading
import time

import numpy as np
import pytest

from jaxlm.data import Arrays, batches

DATA = Arrays({"x": np.arange(70), "y": np.arange(140, dtype=np.float32).reshape(70, 2)}, 4, seed=2)


class Failing:
    """Data whose seventh batch cannot be read."""

    def __getitem__(self, index):
        if index == 7:
            raise KeyError("seven")
        return {"x": np.arange(3) + index}


def reading_threads():
    return {thread for thread in threading.enumerate() if "prefetch" in thread.name}


def wait_until_gone(threads):
    deadline = time.monotonic() + 10
    while threads & set(threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not threads & set(threading.enumerate())


def same(found, start, stop):
    found = list(found)
    assert len(found) == stop - start
    for index, batch in zip(range(start, stop), found, strict=True):
        assert batch.keys() == DATA[index].keys()
        assert all(np.array_equal(batch[name], values) for name, values in DATA[index].items())


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize(("start", "stop"), [(0, 20), (7, 31), (100, 101), (5, 5)])
def test_reading_ahead_equals_indexing_from_any_start(threads, start, stop):
    same(batches(DATA, start, stop, threads=threads), start, stop)


@pytest.mark.parametrize("workers", [1, 2])
def test_reading_in_processes_equals_indexing(workers):
    same(batches(DATA, 3, 12, threads=1, buffer=2, workers=workers), 3, 12)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_of_the_data_is_raised_in_its_turn(threads):
    seen = []
    with pytest.raises(KeyError, match="seven"):
        seen.extend(batch["x"][0] for batch in batches(Failing(), 2, 20, threads=threads))
    assert seen == [2, 3, 4, 5, 6] or seen == []


def test_the_batches_before_an_error_are_given():
    found = batches(Failing(), 4, 20)
    assert [int(next(found)["x"][0]) for _ in range(3)] == [4, 5, 6]
    with pytest.raises(KeyError, match="seven"):
        next(found)


def test_threads_end_when_the_consumer_stops_early():
    before = reading_threads()
    found = batches(DATA, 0, 1000)
    next(found)
    own = reading_threads() - before
    assert own
    found.close()
    assert wait_until_gone(own)
