import subprocess
import sys
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


def same(found, start, stop):
    found = list(found)
    assert len(found) == stop - start
    for index, batch in zip(range(start, stop), found, strict=True):
        assert batch.keys() == DATA[index].keys()
        assert all(np.array_equal(batch[name], values) for name, values in DATA[index].items())


@pytest.mark.parametrize("buffer", [1, 2, 50])
@pytest.mark.parametrize(("start", "stop"), [(0, 20), (7, 31), (100, 101), (5, 5)])
def test_reading_ahead_equals_indexing_from_any_start(buffer, start, stop):
    same(batches(DATA, start, stop, buffer=buffer), start, stop)


@pytest.mark.parametrize("workers", [1, 2])
def test_reading_in_processes_equals_indexing(workers):
    same(batches(DATA, 3, 12, buffer=2, workers=workers), 3, 12)


def test_batches_are_put_in_the_background_and_no_more_than_fit_in_the_buffer():
    put = []

    def record(batch):
        put.append((int(batch["x"][0]), threading.current_thread()))
        return batch["x"]

    found = batches(Numbers(), 0, 100, put=record, buffer=3)
    assert next(found).tolist() == [0]
    deadline = time.monotonic() + 10
    while len(put) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert [number for number, _ in put] == [0, 1, 2, 3]  # three are ready beside the one that was taken
    assert threading.current_thread() not in {thread for _, thread in put}
    assert [int(x[0]) for x in found] == list(range(1, 100))


class Numbers:
    """Batch i is the number i."""

    def __getitem__(self, index):
        return {"x": np.array([index])}


def test_the_batches_before_an_error_are_given_and_then_the_error_in_its_turn():
    found = batches(Failing(), 4, 20)
    assert [int(next(found)["x"][0]) for _ in range(3)] == [4, 5, 6]
    with pytest.raises(KeyError, match="seven"):
        next(found)
    assert list(found) == []


def test_an_error_of_put_is_raised_too():
    def refuse(batch):
        raise ValueError(f"put {batch['x'][0]}")

    with pytest.raises(ValueError, match="put 4"):
        next(batches(Failing(), 4, 20, put=refuse))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_the_thread_ends_when_the_consumer_stops_early(taken):
    before = reading_threads()
    found = batches(DATA, 0, 1000)
    for _ in range(taken):
        next(found)
    assert len(reading_threads() - before) == (taken > 0)
    found.close()
    assert reading_threads() == before


def test_a_program_ends_quietly_while_batches_are_read():
    code = (
        "import numpy as np; from jaxlm.data import Arrays, batches; "
        "found = batches(Arrays({'x': np.arange(8)}, 2), 0, 10**9); next(found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_the_loader_and_reading_in_a_thread_need_no_grain():
    code = (
        "import sys, numpy as np; from jaxlm.data import Arrays, batches; "
        "list(batches(Arrays({'x': np.arange(8)}, 2), 0, 3)); print('grain' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
