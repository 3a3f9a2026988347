"""SIGTERM and SIGINT ask a run to finish its step and save; asked twice, it exits at once."""

import os
import signal
from types import FrameType, TracebackType


class Interrupt:
    """A context in which the first signal sets `signal` and the second ends the process."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __enter__(self) -> "Interrupt":
        self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number).name
