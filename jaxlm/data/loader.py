"""Batches read ahead of the loop, in threads or processes of their own: the one home of grain."""

import logging
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from jaxlm.data.protocol import Batch, Data


def batches(
    data: Data, start: int, stop: int, *, threads: int = 2, buffer: int = 4, workers: int = 0
) -> Iterator[Batch]:
    """Yield `data[start]`, ..., `data[stop - 1]` in order, whatever the number of threads and workers.

    Each batch is made whole by one thread or worker, so nothing depends on who makes it. An exception of `data[i]`
    is raised here, in its turn. Closing the iterator (or dropping it) ends the threads and processes.

    Args:
        data: what to read; with workers it is pickled to them, memory maps as arrays.
        start: the first batch.
        stop: one past the last batch.
        threads: reading threads (of each worker); 0 reads when asked.
        buffer: batches kept ready (by each worker).
        workers: reading processes; they import the main script, as all spawned processes do.
    """
    grain = _grain()
    ahead = grain.MapDataset.range(start, stop).map(data.__getitem__)
    dataset = ahead.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer))
    if workers:
        _settle_flags()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=buffer))
    iterator = iter(dataset)
    try:
        for batch in iterator:  # a worker's arrays lie in memory that it shares, which must be given back: copy them
            yield {name: np.array(values) for name, values in batch.items()} if workers else batch
    finally:
        iterator.close()


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
