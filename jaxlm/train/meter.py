"""Sum the metrics of updates on the devices, and time the updates."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import Diverged
from jaxlm.steps import Metrics, require_sums

Emit = Callable[[int, Metrics, dict[str, float]], None]


def widen(metrics: Metrics) -> Metrics:
    """Fetch metrics to the host in 64 bits: float64, or int64 for integers, so that counts stay exact."""

    def one(x: Any) -> Any:
        floating = jnp.issubdtype(np.asarray(x).dtype, jnp.floating)
        if np.ndim(x) == 0:
            return float(x) if floating else int(x)
        return np.asarray(x, np.float64 if floating else np.int64)

    return jax.tree.map(one, jax.device_get(metrics))


TOGETHER = 8  # calls whose metrics are added in one program: its dispatch costs more than the additions


@jax.jit
def _sum(sums: Metrics, *addends: Metrics) -> Metrics:
    for metrics in addends:
        sums = jax.tree.map(jnp.add, sums, metrics)
    return sums


def raise_where_halted(completed: int, metrics: Metrics) -> None:
    """Raise Diverged where `transforms.skip_nonfinite` has halted the run."""
    if "halted" in metrics and np.asarray(metrics["halted"].total).any():
        raise Diverged(
            f"training stopped: too many updates in a row were not finite, up to update {completed}, or had nothing to "
            "learn from (a mask that is 0 everywhere)"
        )


class Meter:
    """Sum the metrics of updates on the devices, and emit sums and times at an interval.

    It limits the loop to `in_flight` unfinished calls: unlimited dispatch of collectives deadlocks on a CPU, and fills
    the host's memory elsewhere. Between two records only "halted" is fetched: a fetch of every metric at every update
    took longer than a small step. Time spent waiting for data, and work that is not training (`untimed`), are counted
    apart.

    Args:
        emit: called with the updates completed, the sums since the last record (on the host, in 64 bits), and the
            times.
        interval: updates between two records; 0 for one at the end.
        start: updates completed before.
        throughput: what one batch counts and its unit, such as (4096, "tokens").
        watch: called with the updates completed and the metrics of each call as it finishes; what it raises ends the
            loop.
        in_flight: unfinished calls at most.
    """

    def __init__(
        self,
        emit: Emit,
        interval: int,
        start: int = 0,
        throughput: tuple[int, str] | None = None,
        *,
        watch: Callable[[int, Metrics], None] = raise_where_halted,
        in_flight: int = 2,
    ):
        self._emit, self._watch, self._interval, self._throughput = emit, watch, interval, throughput
        self._last, self._in_flight = start, in_flight
        self._queue: deque[tuple[int, Metrics, Metrics]] = deque()  # completed, metrics of the call, sums to emit
        self._sums: Metrics = {}
        self._addends: list[Metrics] = []  # of the calls that are not in the sums yet
        self._begin()

    def _begin(self) -> None:
        self._updates, self._waited, self._untimed, self._began = 0, 0.0, 0.0, time.perf_counter()

    def wait(self, batches: Iterator[Any]) -> Any:
        """Return the next batch, and count the time it took as waiting for data."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        return batch

    def add(self, completed: int, metrics: Metrics) -> None:
        """Add the unfinished metrics of a call; block until at most `in_flight` calls are unfinished."""
        if self._sums:
            self._addends.append(metrics)
        else:
            self._sums = require_sums(metrics)
        due = self._interval and completed % self._interval == 0
        if len(self._addends) == TOGETHER:
            self._sums, self._addends = _sum(self._sums, *self._addends), []
        self._queue.append((completed, metrics, self._take_sums() if due else {}))
        while len(self._queue) > self._in_flight:
            self._settle()

    def drain(self) -> None:
        """Wait for every update."""
        while self._queue:
            self._settle()

    def flush(self) -> None:
        """Wait for every update and emit the sums since the last record."""
        self.drain()
        if self._sums:
            self._record(self._take_sums())

    def untimed(self, work: Callable[[], Any]) -> Any:
        """Call `work`, such as an evaluation, outside of the step time, and return its result."""
        self.drain()
        began = time.perf_counter()
        result = work()
        self._untimed += time.perf_counter() - began
        return result

    def _take_sums(self) -> Metrics:
        """Return the sums of all calls since the last record, in the order of the calls, and begin new ones."""
        sums, addends = self._sums, self._addends
        self._sums, self._addends = {}, []
        for metrics in addends:
            sums = _sum(sums, metrics)
        return sums

    def _settle(self) -> None:
        completed, metrics, sums = self._queue.popleft()
        jax.block_until_ready(next(iter(jax.tree.leaves(metrics))))
        self._updates += completed - self._last
        self._last = completed
        self._watch(completed, metrics)
        if sums:
            self._record(sums)

    def _record(self, sums: Metrics) -> None:
        elapsed = max(time.perf_counter() - self._began - self._untimed, 1e-9)
        times = {"time/step": elapsed / self._updates, "time/data_wait": self._waited / elapsed}
        if self._throughput:
            amount, unit = self._throughput
            times[f"time/{unit}_per_second"] = amount * self._updates / elapsed
        self._emit(self._last, {name: x for name, x in widen(sums).items() if name != "halted"}, times)
        self._begin()
