"""`jaxlm list`: the experiments and configs that are there, or the runs of a folder."""

import argparse
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from jaxlm.errors import BadInput
from jaxlm.runs.directory import CONFIG, RunDirectory, since_best
from jaxlm.runs.files import LOCK
from jaxlm.runs.serialise import TYPE
from jaxlm.runs.settings import Run
from jaxlm.runs.shipped import FileKind, folders, read

PLAIN: dict[str, Any] = {"tablefmt": "plain", "disable_numparse": True}


def list_all(args: argparse.Namespace) -> int:
    """Print the experiments and the configs by name, or the runs of a folder."""
    if args.folder is not None:
        print(tabulate(runs(Path(args.folder)), ("run", "updates", "metric", "state"), **PLAIN))
        return 0
    kinds: tuple[FileKind, FileKind] = ("experiment", "config")
    experiments, configs = (
        {path.stem: read(path) for folder in reversed(folders(kind)) for path in sorted(folder.glob("*.py"))}
        for kind in kinds
    )
    summaries = [(name, found.summary) for name, found in sorted(experiments.items())]
    print(tabulate(summaries, ("experiment", "summary"), **PLAIN))
    rows = [(name, found.experiment or "", found.summary) for name, found in sorted(configs.items())]
    print("\n" + tabulate(rows, ("config", "experiment", "summary"), **PLAIN))
    print("\njaxlm train CONFIG trains one; jaxlm train CONFIG --help lists its fields")
    return 0


def runs(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, updates, last metric and state of every run below a folder.

    Raises:
        BadInput: there is no such folder, or no run in it.
    """
    found = []
    for directory, inside, files in os.walk(folder):
        inside.sort()
        if CONFIG in files:
            found.append(Path(directory))
            inside.clear()  # nothing below a run is another run
    if not found:
        raise BadInput(f"there is no run in {folder}: give the folder that your runs are in, as runs/")
    for path in found:
        yield (str(path.relative_to(folder)) if path != folder else str(path), *described(RunDirectory(path)))


def described(home: RunDirectory) -> tuple[str, str, str]:
    """Return the updates, the last value of `run.metric` and the state of a run, without executing its code."""
    try:
        run = Run(**{name: value for name, value in home.stored()["run"].items() if name != TYPE})
    except (BadInput, LookupError, TypeError, AttributeError):
        return "?", "", "written by another version, or damaged"
    records = list(home.metrics())
    updates = max((record["step"] for record in records), default=0)
    values = [record[run.metric] for record in records if record.get(run.metric) is not None]
    shown = f"{run.metric} {values[-1]:.4g}" if values else ""
    if is_training(home):
        state = "training"
    elif updates >= run.steps:
        state = "finished"
    elif run.patience is not None and since_best(records, run) >= run.patience:
        state = "stopped early: no better for a while"
    else:
        state = "stopped"
    return f"{updates} of {run.steps}", shown, state


def is_training(home: RunDirectory) -> bool:
    """Return whether a process holds the lock of a run."""
    try:
        with (home.path / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
