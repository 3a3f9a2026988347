"""Dynamic batching: rows of many requests computed together, in a few compiled shapes.

A thread computes. It takes what is waiting of one shape, at most a full batch, fills it up with rows of zeros to
the next size that has a program, and computes. While it does, the next batch gathers; so nobody waits when the device
is free, unless `wait` says so. A call that takes less time than to hand a row over is made by the row's own thread.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jaxlm.decode.generate import power_of_two
from jaxlm.predict.predictor import Example, Predictor, row_shape, stack_rows

QUICK = 3e-4  # seconds of a call; about what two changes of a thread cost


class Busy(Exception):
    """The queue has no room.

    Attributes:
        seconds: until it may have, an estimate.
    """

    def __init__(self, seconds: float):
        super().__init__(f"the queue is full: try again in {seconds:.0f} s")
        self.seconds = seconds


class _Waiting(NamedTuple):
    """A row on its way."""

    row: Example
    done: asyncio.Future
    since: float


class Batcher:
    """Computes rows for coroutines.

    Law: with `fixed`, an output depends on its row and nothing else, and equals that of an evaluation of the same
    batch size bit for bit on one platform.

    Args:
        predictor: whose function is computed.
        variables: its weights.
        largest: rows of a batch at most; None: those of the evaluation, at most 64.
        fixed: every batch has the size of the evaluation, so that answers never depend on who shares it.
        wait: seconds that a row may wait for others while the device is free.
        room: rows that may wait at most.
        seen: called with the rows of each batch and the size that it was filled up to.
    """

    def __init__(
        self,
        predictor: Predictor,
        variables: Any,
        *,
        largest: int | None = None,
        fixed: bool = False,
        wait: float = 0.0,
        room: int = 256,
        seen: Callable[[int, int], None] = lambda rows, size: None,
    ):
        most = min(predictor.batch, 64) if largest is None else largest
        self.sizes = (predictor.batch,) if fixed else tuple(1 << k for k in range(power_of_two(most).bit_length()))
        self.room, self._wait, self._seen = room, wait, seen
        self._program, self._variables = jax.jit(predictor.apply), jax.device_put(variables)
        self._queues: dict[Any, deque[_Waiting]] = {}
        self._changed = threading.Condition()
        self._waiting, self._open, self._pace = 0, True, 0.01  # seconds a row, of the last batches
        self._quick = False  # whether one row is computed by its caller, as that takes less than to hand it over
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def start(self, examples: Sequence[dict[str, Any]]) -> None:
        """Compile a program for each shape of some batches and each size, and begin to work."""
        for example in examples:
            row = {name: x[0] for name, x in example.items()}
            for size in self.sizes:
                jax.block_until_ready(self._program(self._variables, stack_rows([row], size)))
        if self._wait == 0:
            rows = [{name: x[0] for name, x in example.items()} for example in examples]
            self._quick = max(self._seconds(row) for row in rows) < QUICK
        self._thread.start()

    def _seconds(self, row: Example) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            jax.device_get(self._program(self._variables, stack_rows([row], self.sizes[0])))
            times.append(time.perf_counter() - began)
        return min(times)

    def close(self) -> None:
        """Compute what is waiting and end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Return the number of rows that wait."""
        return self._waiting

    def submit(self, rows: Sequence[Example]) -> list[asyncio.Future]:
        """Put rows into the queue and return a future for the outputs of each; called in an event loop.

        Raises:
            Busy: there is no room for all of them.
        """
        loop, now = asyncio.get_running_loop(), time.monotonic()
        found = [_Waiting(row, loop.create_future(), now) for row in rows]
        with self._changed:
            full = self._waiting > 0 and self._waiting + len(rows) > self.room
            if not self._open or full:
                raise Busy(max(1.0, self._waiting * self._pace))
            for one in found:
                self._queues.setdefault(row_shape(one.row), deque()).append(one)
            self._waiting += len(rows)
            if self._quick:
                loop.call_soon(self._flush)  # after all requests that are read at this moment
            else:
                self._changed.notify()
        return [one.done for one in found]

    def _flush(self) -> None:
        """Compute a row that is alone here, or have the thread compute those that are there."""
        with self._changed:
            alone = self._pop(1) if self._waiting == 1 else []
            if self._waiting:
                self._changed.notify()
        if alone:
            self._compute(alone, settle_now)

    def _run(self) -> None:
        while group := self._take():
            began = time.monotonic()
            self._compute(group, settle_future)
            self._pace = 0.9 * self._pace + 0.1 * (time.monotonic() - began) / len(group)

    def _take(self) -> list[_Waiting]:
        """Return rows of one shape, those of the row that has waited longest; none at the end."""
        with self._changed:
            while True:
                while not self._waiting:
                    if not self._open:
                        return []
                    self._changed.wait()
                queue = self._oldest()
                left = queue[0].since + self._wait - time.monotonic()
                if len(queue) >= self.sizes[-1] or left <= 0 or not self._open:
                    break
                self._changed.wait(left)
            return self._pop(min(len(queue), self.sizes[-1]))

    def _oldest(self) -> deque[_Waiting]:
        """Return the rows of the shape of which one has waited longest."""
        return min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].since)

    def _pop(self, count: int) -> list[_Waiting]:
        """Take rows of one shape, those of the row that has waited longest."""
        queue = self._oldest()
        self._waiting -= count
        return [queue.popleft() for _ in range(count)]

    def _compute(self, group: list[_Waiting], settle: Callable[..., None]) -> None:
        live = [one for one in group if not one.done.cancelled()]
        if not live:
            return
        size = next(size for size in self.sizes if size >= len(live))
        self._seen(len(live), size)
        try:
            outputs = jax.device_get(self._program(self._variables, stack_rows([one.row for one in live], size)))
        except Exception as error:
            for one in live:
                settle(one.done, error=error)
            return
        for number, one in enumerate(live):
            settle(one.done, {name: x[number] for name, x in outputs.items()})


def settle_future(future: asyncio.Future, result: Any = None, error: Exception | None = None) -> None:
    """Give a future its result in its own loop; one that was given up, or whose loop has ended, is passed over."""
    with contextlib.suppress(RuntimeError):  # the loop is closed
        future.get_loop().call_soon_threadsafe(settle_now, future, result, error)


def settle_now(future: asyncio.Future, result: Any = None, error: Exception | None = None) -> None:
    """Give a future its result, in the thread of its loop; one that was given up is passed over."""
    if not future.done():
        future.set_result(result) if error is None else future.set_exception(error)
