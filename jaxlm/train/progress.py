"""Show a run while it trains: a bar on a terminal, plain lines elsewhere, TensorBoard events if installed."""

import contextlib
import math
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import jax

from jaxlm.parallel import Placement

FLUSHED_EVERY = 10.0  # seconds between two times that TensorBoard's events are written to the disk

# Dense peak of the half-precision matrix units in FLOP/s, from the makers' data sheets, by jax's `device_kind`.
PEAK_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v3": 123e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


class Progress(Protocol):
    """What shows the records of a run as they come."""

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Show one record."""

    def tick(self, step: int) -> None:
        """Show the updates completed, at every call."""

    def say(self, text: str) -> None:
        """Show one line of text."""

    def close(self) -> None:
        """Finish."""


def utilisation(flops: float | None, seconds: float, device_kind: str, devices: int) -> dict[str, float]:
    """Compute the model FLOP utilisation (PaLM, appendix B, arXiv:2204.02311); empty where peak or FLOPs are unknown.

    Args:
        flops: of one update.
        seconds: of one update.
        device_kind: jax's name of the chip.
        devices: how many.
    """
    peak = PEAK_FLOPS.get(device_kind)
    return {"time/mfu": flops / (seconds * peak * devices)} if flops and peak else {}


def brief(step: int, metrics: dict[str, float], chosen: str = "") -> str:
    """Format a record as one line, with the chosen metric first and marked by a star."""
    words = [f"step {step}"]
    if chosen in metrics:
        words.append(f"*{chosen} {metrics[chosen]:.4g}")
    for name, value in metrics.items():
        if name == chosen:
            continue
        kind, _, label = name.partition("/")
        if kind != "time" and not (label == "skipped" and value == 0):
            words.append(f"{label if kind == 'train' else name} {value:.4g}")
    if "time/step" in metrics:
        words.append(f"{metrics['time/step'] * 1e3:.3g} ms/step")
    return "  ".join(words + speed(metrics))


def speed(metrics: dict[str, float]) -> list[str]:
    """Format throughput, the share of time spent waiting for data, and the utilisation where it is known."""
    words = [f"{v:,.0f} {k[5:-11]}/s" for k, v in metrics.items() if k.endswith("_per_second")]
    if "time/data_wait" in metrics:
        words.append(f"data wait {metrics['time/data_wait']:.1%}")
    if "time/mfu" in metrics:
        words.append(f"MFU {metrics['time/mfu']:.1%}")
    return words


class Lines:
    """Print plain lines to standard output or to a text file."""

    def __init__(self, chosen: str = "", file: TextIO | None = None):
        self._chosen, self._file = chosen, file

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Print a record."""
        self.say(brief(step, metrics, self._chosen))

    def tick(self, step: int) -> None:
        """Do nothing: lines have no bar."""

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._file, flush=True)

    def close(self) -> None:
        """Do nothing."""


class Bar:
    """Show a progress bar on a terminal, with elapsed and remaining time and the last record."""

    def __init__(self, total: int, start: int, chosen: str = ""):
        from rich import progress as rich

        times = (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
        self._chosen = chosen
        self._bar = rich.Progress(
            rich.BarColumn(8), rich.MofNCompleteColumn(), *times, rich.TextColumn("{task.description}")
        )
        self._task = self._bar.add_task("", total=total, completed=start)
        self._bar.start()

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Show a training record beside the bar, and an evaluation as a line above it."""
        if "train/loss" not in metrics:
            self.say(brief(step, metrics, self._chosen))
        else:
            words = [f"loss {metrics['train/loss']:.4g}", *speed(metrics)]
            self._bar.update(self._task, completed=step, description="  ".join(words))

    def tick(self, step: int) -> None:
        """Move the bar to an update."""
        self._bar.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """Print a line above the bar; paths and commands are not wrapped."""
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the bar; it stays on the screen."""
        self._bar.stop()


def progress(total: int, start: int, chosen: str = "", log: TextIO | None = None) -> Progress:
    """Return a bar where standard output is a terminal, and plain lines elsewhere or in a log file."""
    return Bar(total, start, chosen) if log is None and sys.stdout.isatty() else Lines(chosen, log)


def start_lines(directory: Path, place: Placement, shapes: Any, events: Sequence[Any]) -> list[str]:
    """Return the lines printed at the start of a run: directory, devices, parameters by module."""
    device = jax.devices()[0]
    lines = [f"run directory: {directory}", f"devices: {place.devices} x {device.device_kind}, {place!r}"]
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        before, found, inside = name.partition("params/")
        if found and (not before or (before.startswith("parts/") and before.count("/") == 2)):  # no average
            module = before + "/".join(inside.split("/")[:1])
            sizes[module] = sizes.get(module, 0) + math.prod(leaf.shape)
    shown = dict(sorted(sizes.items(), key=lambda item: -item[1])[:6])
    rest = sum(sizes.values()) - sum(shown.values())
    parts = ", ".join(f"{name} {size:,}" for name, size in {**shown, **({"others": rest} if rest else {})}.items())
    lines.append(f"parameters: {sum(sizes.values()):,} ({parts})")
    return lines + [f"TensorBoard: tensorboard --logdir {directory / 'tensorboard'}" for _ in events]


class LiveTable:
    """Show a table on a terminal that is drawn again in place, also while standard output is redirected."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=sys.stdout))
        self._live.start()

    def show(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Draw the table with these rows."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(header[0], box=None)
        for name in header[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*map(Text, row))
        self._live.update(table)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._live.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Stop drawing; the last table stays on the screen."""
        self._live.stop()


def table() -> LiveTable | None:
    """Return a table where standard output is a terminal, else None."""
    return LiveTable() if sys.stdout.isatty() else None


class TensorBoard:
    """Write event files in the run's directory, without TensorFlow.

    They are written where `record` is called and not by a thread, which lets a run wait for ever once it has failed. A
    file that cannot be written, such as on a full disk, ends the events and not the run.

    Args:
        directory: of the event files.
        purge: the restored update; TensorBoard hides earlier events past it.
        say: prints a line.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, directory: Path, purge: int, say: Callable[[str], None]):
        from tensorboardX.record_writer import RecordWriter

        self._say, self._flushed = say, time.monotonic()
        self._writer: RecordWriter | None = None
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}"

        def begin() -> None:
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(directory / name))
            self._write(0, file_version="brain.Event:2")
            self._write(purge, session_log={"status": "START"})

        self._attempt(begin)

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write every metric as a scalar."""
        if self._writer is not None:
            scalars = [{"tag": name, "simple_value": value} for name, value in metrics.items()]
            self._attempt(lambda: self._write(step, summary={"value": scalars}))

    def tick(self, step: int) -> None:
        """Do nothing: only records are written."""

    def say(self, text: str) -> None:
        """Do nothing: text is not written."""

    def close(self) -> None:
        """Write the buffer and close the file."""
        if self._writer is not None:
            self._attempt(self._writer.close)

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        assert self._writer is not None
        self._writer.write(Event(step=step, wall_time=time.time(), **content).SerializeToString())
        if time.monotonic() - self._flushed > FLUSHED_EVERY:
            self._flushed = time.monotonic()
            self._writer.flush()

    def _attempt(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except OSError as error:
            writer, self._writer = self._writer, None
            self._say(f"TensorBoard: no more events are written ({error.strerror or error})")
            with contextlib.suppress(OSError):  # closing writes what is still in the buffer
                if writer is not None:
                    writer.close()


def tensorboard(directory: Path, purge: int, say: Callable[[str], None]) -> list[Progress]:
    """Return a writer in a list, or an empty list where the extra is not installed."""
    try:
        return [TensorBoard(directory, purge, say)]
    except ImportError:
        return []
