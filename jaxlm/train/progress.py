"""What a run tells while it runs: a bar on a terminal, plain lines elsewhere, TensorBoard events if installed."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

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
    """Shows records as they come."""

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Show one record."""

    def say(self, text: str) -> None:
        """Show one line of text."""

    def close(self) -> None:
        """Finish."""


def utilisation(flops: float | None, seconds: float, device_kind: str, devices: int) -> dict[str, float]:
    """Model FLOP utilisation (PaLM, appendix B, arXiv:2204.02311), or nothing where a peak or the FLOPs are unknown."""
    peak = PEAK_FLOPS.get(device_kind)
    return {"time/mfu": flops / (seconds * peak * devices)} if flops and peak else {}


def brief(step: int, metrics: dict[str, float]) -> str:
    """A record as one line: what a person follows, in fixed order."""
    words = [f"step {step}"]
    for name, value in metrics.items():
        kind, _, label = name.partition("/")
        if kind != "time" and not (label == "skipped" and value == 0):
            words.append(f"{label if kind == 'train' else name} {value:.4g}")
    if "time/step" in metrics:
        words.append(f"{metrics['time/step'] * 1e3:.3g} ms/step")
    return "  ".join(words + speed(metrics))


def speed(metrics: dict[str, float]) -> list[str]:
    """Throughput, waiting for data, and utilisation where it is known."""
    words = [f"{v:,.0f} {k[5:-11]}/s" for k, v in metrics.items() if k.endswith("_per_second")]
    if "time/data_wait" in metrics:
        words.append(f"data wait {metrics['time/data_wait']:.1%}")
    if "time/mfu" in metrics:
        words.append(f"MFU {metrics['time/mfu']:.1%}")
    return words


class Lines:
    """Plain lines on standard output, or in a text file."""

    def __init__(self, file: TextIO | None = None):
        self._file = file

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Print a record."""
        self.say(brief(step, metrics))

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._file, flush=True)

    def close(self) -> None:
        """Nothing to finish."""


class Bar:
    """A progress bar on a terminal, with the last record beside it and time left."""

    def __init__(self, total: int, start: int):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(12), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._bar = RichProgress(*columns)
        self._task = self._bar.add_task("", total=total, completed=start)
        self._bar.start()

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Move the bar; evaluations stay on the screen as lines."""
        if any(name.startswith("eval/") for name in metrics):
            self.say(brief(step, metrics))
        else:
            words = [f"loss {metrics['train/loss']:.4g}", *speed(metrics)]
            self._bar.update(self._task, completed=step, description="  ".join(words))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


def progress(total: int, start: int) -> Progress:
    """A bar where standard output is a terminal, plain lines elsewhere."""
    return Bar(total, start) if sys.stdout.isatty() else Lines()


class Table:
    """A table on a terminal that is drawn anew in place. It stays there while standard output is redirected."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=sys.stdout))
        self._live.start()

    def show(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Draw these rows in the place of those before."""
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
        """Leave the table as it stands."""
        self._live.stop()


def table() -> Table | None:
    """A table where standard output is a terminal."""
    return Table() if sys.stdout.isatty() else None


class TensorBoard:
    """Event files beside the run, written without TensorFlow. `purge` hides what lies past a restored update."""

    def __init__(self, directory: Path, purge: int):
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(str(directory), purge_step=purge)

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write every metric as a scalar."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """Text is not kept."""

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()


def tensorboard(directory: Path, purge: int) -> list[Progress]:
    """A writer in a list, or an empty list where the extra is not installed."""
    try:
        return [TensorBoard(directory, purge)]
    except ImportError:
        return []
