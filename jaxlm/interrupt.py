"""Ctrl-C and the other signals that stop a process: after the current update where one is running, else at once."""

import contextlib
import functools
import io
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)  # Slurm sends SIGUSR1 before the end of its time
GRACE = 1.5  # seconds for Python to react to a signal that asks for an end at once
_waiting: list["Interrupt"] = []  # the contexts in which a signal waits for the current update, the innermost last
_entered: list["Interrupt"] = []  # all contexts, the innermost last
_unsaid = [True]  # empty once a thread has printed that the process stops
_raised: list[int] = []  # signals for which `Stopped` was raised


class Stopped(KeyboardInterrupt):
    """A signal asked for an end at once.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number
        _raised.append(number)


def exit_code(stopped: KeyboardInterrupt) -> int:
    """Return 128 + the number of the signal that stopped a command, as shells do."""
    return 128 + getattr(stopped, "number", signal.SIGINT)


class Interrupt:
    """A context that lets an update end and be saved when a signal asks the process to stop.

    Until the first call of `check`, a signal raises `Stopped`. After it, the first signal waits for the next call, and
    the second one ends the process. Outside the main thread, signals are left as they are.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.seen = False  # whether the thread that watches signals has left one to the loop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        _entered.append(self)
        if threading.current_thread() is threading.main_thread():
            chosen = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as of nohup
            self._before = {number: signal.signal(number, self._handle) for number in chosen}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _entered.remove(self)
        if self in _waiting:
            _waiting.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> str | None:
        """Return the name of the signal that came, or None; from now on a signal waits for the next call."""
        if self not in _waiting:
            _waiting.append(self)
        return self.signal

    def raise_stopped(self) -> None:
        """Raise `Stopped` where a signal came; otherwise as `check`."""
        if self.check() is not None:
            self.leave()

    def leave(self) -> None:
        """Raise `Stopped` where a signal came."""
        if self.signal is not None:
            raise Stopped(signal.Signals[self.signal])

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """End this block, without an error, where `leave_if_stopped` raises in it for a signal that waits."""
        try:
            yield
        except Stopped:
            if self.signal is None:
                raise

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self not in _waiting:
            raise Stopped(number)
        if self.signal is not None:
            _end(number)
        self.signal = signal.Signals(number).name


def leave_if_stopped() -> None:
    """Raise `Stopped` where a signal waits for the current update: for work that can be left, such as an evaluation.

    Only a signal to the innermost context counts: a generator that was never closed may still be in one around it.
    """
    if _entered:
        _entered[-1].leave()


def run_process(work: Callable[[], Any]) -> NoReturn:
    """Run the command of this process and exit with the code of its SystemExit.

    Ctrl-C ends it within two seconds, with one line and the code 128 + the number of the signal. Then, and after an
    error (2), libraries are not cleaned up, because their threads may still run: those of a failed save for minutes.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    signal.signal(signal.SIGINT, _stop)
    shown = sys.unraisablehook  # what a signal leaves half-made fails in its `__del__`, with errors of its own
    sys.unraisablehook = lambda found: None if _raised else shown(found)
    code: Any = 0
    _write_all_characters()
    try:
        work()
    except SystemExit as stop:
        code = stop.code
    except BrokenPipeError:
        pass
    except KeyboardInterrupt as error:
        code = exit_code(error)
        sys.stderr.flush()
        _say_stopped(code - 128)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `jaxlm info RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code != 2 and (not isinstance(code, int) or code < 128):
        signal.set_wakeup_fd(-1)
        sys.exit(code)
    sys.stderr.flush()
    _exit(code)


def _write_all_characters() -> None:
    """Let standard output and error write what their encoding lacks, such as a file's name, as an escape."""
    for stream in (sys.stdout, sys.stderr):
        utf8 = str(getattr(stream, "encoding", "")).lower().replace("-", "") == "utf8"
        if isinstance(stream, io.TextIOWrapper) and not (utf8 and stream.errors == "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise `Stopped`, or end the process in an import, which may turn an exception into another one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end(number)
        frame = frame.f_back
    raise Stopped(number)


def _watch(signals: socket.socket) -> None:
    """End the process where Python cannot react to a signal, such as while a program is compiled."""
    while received := signals.recv(1):  # nothing once the process has come to its end
        number = received[0]
        if number not in SIGNALS:
            continue
        if not _waiting:
            time.sleep(GRACE)
        waiting = _waiting[-1] if _waiting else None
        if waiting is None or waiting.seen:
            _end(number)
        waiting.seen = True  # the loop looks at it after the update


def _end(number: int) -> NoReturn:
    """End the process at once with one line."""
    _say_stopped(number)
    _exit(128 + number)


def _say_stopped(number: int) -> None:
    """Print the last line of a stopped process, and show the cursor, which a progress bar may have hidden.

    The main thread and the one that watches signals may both come here: the first one prints, the second one lets it.
    """
    try:
        _unsaid.pop()
    except IndexError:
        time.sleep(0.1)
        return
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""
    os.write(2, show_cursor + f"{signal.Signals(number).name}: stopped\n".encode())


def _exit(code: int) -> NoReturn:
    """End the process and the processes that it started, except the one that frees what they share."""
    tracker = getattr(resource_tracker, "_resource_tracker", None)
    for task in Path("/proc/self/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if child != getattr(tracker, "_pid", None):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    os._exit(code)


@contextlib.contextmanager
def shielded_children() -> Iterator[None]:
    """Keep signals from the processes that this thread starts: a terminal or a cluster sends them to all of them.

    They need not act on a signal, since this process does, and they call `end_with_parent`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        sys.warnoptions.append(
            "ignore::UserWarning"
        )  # the tracker's, about what it frees after the end of this process
        resource_tracker.ensure_running()
        sys.warnoptions.remove("ignore::UserWarning")
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # again: starting the tracker unblocks two of them
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def end_with_parent() -> None:
    """Let this process end when the one that started it ends, however it does."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def wait() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
