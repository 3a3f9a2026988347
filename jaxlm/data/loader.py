"""Batches that are read ahead of the loop, in a thread or in processes of their own: the one home of grain."""

import atexit
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np

from jaxlm.data.protocol import Batch, Data
from jaxlm.interrupt import end_with_parent, shielded_children


def batches(
    data: Data,
    start: int,
    stop: int,
    *,
    put: Callable[[Any], Any] = lambda batch: batch,
    buffer: int = 4,
    workers: int = 0,
) -> Iterator[Any]:
    """Yield `put(data[start])`, ..., `put(data[stop - 1])` in order, read ahead in the background.

    Each batch is made whole by one thread or process, so that nothing depends on who makes it. An exception of
    `data[i]` is raised here, in its turn. Closing the iterator (or dropping it) ends the thread and the processes.

    Args:
        data: what to read; with workers it is pickled to them, memory maps as arrays.
        start: the first batch.
        stop: one past the last batch.
        put: what else is done to a batch in the background, such as sending it to the devices.
        buffer: batches that are kept ready (by the thread, and by each worker).
        workers: reading processes; they import the main script, as all spawned processes do.
    """
    stream = (
        read_in_processes(data, start, stop, buffer, workers) if workers else map(data.__getitem__, range(start, stop))
    )
    reader = _Reader(stream, put, buffer)
    try:
        for _ in range(start, stop):
            yield reader.next()
    finally:
        reader.close()


class _Reader:
    """A thread that reads a stream ahead, by at most `buffer` batches.

    `SimpleQueue` is written in C: to take a batch that is ready costs a few microseconds.
    """

    def __init__(self, stream: Iterable[Batch], put: Callable[[Any], Any], buffer: int) -> None:
        self._ready: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()
        self._room: SimpleQueue[bool] = SimpleQueue()  # a True for each batch that may be read
        self._closed = False
        for _ in range(buffer):
            self._room.put(True)
        self._thread = Thread(target=self._read, args=(stream, put), name="jaxlm prefetch", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # the interpreter must not go while the thread is inside a library

    def _read(self, stream: Iterable[Batch], put: Callable[[Any], Any]) -> None:
        try:
            for batch in stream:
                self._room.get()
                if self._closed:
                    return
                self._ready.put((put(batch), None))
        except Exception as error:  # raised where the batch is asked for
            self._ready.put((None, error))
        finally:
            if hasattr(stream, "close"):
                stream.close()

    def next(self) -> Any:
        """Return the next batch, or raise what reading it has raised."""
        batch, error = self._ready.get()
        if error is not None:
            raise error
        self._room.put(True)
        return batch

    def close(self) -> None:
        """End the thread; waits for the batch that it is reading."""
        if not self._closed:
            self._closed = True
            self._room.put(True)
            self._thread.join()
            atexit.unregister(self.close)


def read_in_processes(data: Data, start: int, stop: int, buffer: int, workers: int) -> Iterator[Batch]:
    """Yield batches that are read by processes of grain, in order; closing the iterator ends them."""
    grain = _grain()
    _settle_flags()
    dataset = grain.MapDataset.range(start, stop).map(_InWorker(data))
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=buffer))
    dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=buffer))
    with shielded_children():
        iterator = iter(dataset)
        try:
            for batch in iterator:  # its arrays are in memory that the worker shares and takes back: copy them
                yield {name: np.array(values) for name, values in batch.items()}
        finally:
            iterator.close()


@dataclass(frozen=True)
class _InWorker:
    """Reads a batch in a process that ends with the one that trains, also where that is killed."""

    data: Data

    def __call__(self, index: int) -> Batch:
        end_with_parent()
        return self.data[index]


def _grain() -> ModuleType:
    """Import grain, without the warning about its profiler that it logs on older jaxlib."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        import grain
    finally:
        logger.disabled = before
    return grain


def _settle_flags() -> None:
    """Let grain's flags have their defaults: its workers read them, and nobody has parsed a command line for absl."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
