"""The loop. It waits for the devices only so far behind that two updates are in flight."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.steps import Metrics, StepFn, merge

Hook = Callable[[Any, int], str | None]
Emit = Callable[[int, Metrics, dict[str, float]], None]


def fit(
    step: StepFn,
    state: Any,
    batches: Iterator[Any],
    meter: "Meter",
    *,
    start: int,
    stop: int,
    stride: int = 1,
    hooks: Iterable[Hook] = (),
) -> tuple[Any, int, str | None]:
    """Run a compiled step from `start` to `stop` completed updates, `stride` a call.

    After every call each hook gets the state and the number of updates completed; a hook that returns a reason ends
    the loop. Returns the state, the updates completed and the reason (None: `stop` was reached).
    """
    completed, reason = start, None
    while completed < stop and reason is None:
        batch = meter.wait(batches)
        state, metrics = step(state, batch)
        completed += stride
        meter.add(completed, metrics)
        reasons = [hook(state, completed) for hook in hooks]
        reason = next(filter(None, reasons), None)
    meter.flush()
    return state, completed, reason


def every(interval: int, hook: Hook) -> Hook:
    """Call a hook only when the updates completed divide by the interval; never for 0."""
    return lambda state, completed: hook(state, completed) if interval and completed % interval == 0 else None


def shapes_of(batch: Any) -> tuple[tuple[int, ...], ...]:
    """The shape of every array of a batch."""
    return tuple(x.shape for x in jax.tree.leaves(batch))


def by_shape(compile_for: Callable[[Any, Any], StepFn]) -> StepFn:
    """A step whose program is compiled for each shape of batches when it first comes."""
    programs: dict[Any, StepFn] = {}

    def step(state: Any, batch: Any) -> Any:
        shapes = shapes_of(batch)
        if shapes not in programs:
            programs[shapes] = compile_for(state, batch)
        return programs[shapes](state, batch)

    return step


def ahead(batches: Iterable[Any], put: Callable[[Any], Any], count: int = 2) -> Iterator[Any]:
    """Send batches to the devices `count` before they are asked for, so that the copy overlaps with compute."""
    queue: deque[Any] = deque()
    for batch in batches:
        queue.append(put(batch))
        if len(queue) > count:
            yield queue.popleft()
    yield from queue


def measure(evaluate: Callable[[Any, Any], Metrics], state: Any, batches: Iterator[Any]) -> Metrics:
    """Sum the metrics of a compiled evaluation over all batches, on the host, in float64 and int64."""
    sums: Metrics = {}
    queue: deque[Metrics] = deque()
    for batch in batches:
        queue.append(evaluate(state, batch))
        if len(queue) > 2:
            sums = _add(sums, queue.popleft())
    for metrics in queue:
        sums = _add(sums, metrics)
    return sums


def _add(sums: Metrics, metrics: Metrics) -> Metrics:
    host = jax.tree.map(_widen, jax.device_get(metrics))
    return merge(sums, host) if sums else host


def _widen(x: Any) -> Any:
    """A leaf of metrics in 64 bits: float64, or int64 for whole numbers, so that counts stay exact."""
    floating = jnp.issubdtype(np.asarray(x).dtype, jnp.floating)
    if np.ndim(x) == 0:
        return float(x) if floating else int(x)
    return np.asarray(x, np.float64 if floating else np.int64)


def raise_where_halted(completed: int, sums: Metrics) -> None:
    """Raise BadInput where `transforms.skip_nonfinite` has given up."""
    if "halted" in sums and sums["halted"].total:
        raise BadInput(
            f"training stopped: too many updates in a row were not finite, up to update {completed}; "
            "lower the learning rate (--optim.peak) or raise --run.skip-limit, and go on from the last checkpoint"
        )


class Meter:
    """Sums the metrics of updates as they finish, and emits sums and times every so many updates.

    emit: gets the updates completed, the sums since the last time, and the times.
    watch: gets the updates completed and the sums as each call finishes; what it raises ends the loop.

    It holds the loop to `in_flight` unfinished updates: unbounded dispatch of collectives deadlocks on a CPU, and
    starves the host's memory elsewhere. Times are told apart: waiting for data, and work beside training (`aside`).
    """

    def __init__(
        self,
        emit: Emit,
        interval: int,
        start: int = 0,
        units: tuple[int, str] | None = None,
        *,
        watch: Callable[[int, Metrics], None] = raise_where_halted,
        in_flight: int = 2,
    ):
        self._emit, self._watch, self._interval, self._units = emit, watch, interval, units
        self._last, self._in_flight = start, in_flight
        self._queue: deque[tuple[int, Metrics]] = deque()
        self._reset()

    def _reset(self) -> None:
        self._sums: Metrics = {}
        self._updates, self._waited, self._aside, self._began = 0, 0.0, 0.0, time.perf_counter()

    def wait(self, batches: Iterator[Any]) -> Any:
        """The next batch, with the time it took counted as waiting for data."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        return batch

    def add(self, completed: int, metrics: Metrics) -> None:
        """Take the unfinished metrics of a call; blocks until at most `in_flight` calls are unfinished."""
        self._queue.append((completed, metrics))
        while len(self._queue) > self._in_flight:
            self._settle()

    def drain(self) -> None:
        """Wait for every update."""
        while self._queue:
            self._settle()

    def flush(self) -> None:
        """Wait for every update and emit what has been summed since the last record."""
        self.drain()
        if self._updates:
            self._record()

    def aside(self, work: Callable[[], Any]) -> Any:
        """Do work that is not training, such as an evaluation, with its time kept out of the step time."""
        self.drain()
        began = time.perf_counter()
        result = work()
        self._aside += time.perf_counter() - began
        return result

    def _settle(self) -> None:
        completed, metrics = self._queue.popleft()
        self._sums = _add(self._sums, metrics)
        self._updates += completed - self._last
        self._last = completed
        self._watch(completed, self._sums)
        if self._interval and completed % self._interval == 0:
            self._record()

    def _record(self) -> None:
        elapsed = max(time.perf_counter() - self._began - self._aside, 1e-9)
        self._sums.pop("halted", None)
        times = {"time/step": elapsed / self._updates, "time/data_wait": self._waited / elapsed}
        if self._units:
            amount, unit = self._units
            times[f"time/{unit}_per_second"] = amount * self._updates / elapsed
        self._emit(self._last, self._sums, times)
        self._reset()
