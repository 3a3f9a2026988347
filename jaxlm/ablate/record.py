"""The record of a cell: cell.json in its run directory, written last. A cell is done when its record is there whole."""

import json
import os
from pathlib import Path
from typing import Any

from jaxlm.ablate.cell import Cell
from jaxlm.train import Run
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.run_directory import RunDirectory, since_best
from jaxlm.train.serialise import digest

RECORD = "cell.json"
SEAL = "seal"
Record = dict[str, Any]


def write_record(
    directory: Path, cell: Cell, failed: str | None, pruned: str | None = None, deviation: float = 0.0
) -> Record:
    """Make and write the record of a cell that has ended.

    failed: the one line of what went wrong.    pruned: why a search gave the run up before its end.
    deviation: of a packing that is not exact from runs alone, as its trial measured it.
    curves: each metric by update, [[update, value], ...].    final: its value at the end, or with `run.patience` at
    the evaluation that was best by `run.metric`. A value that is not finite is null. Times are left out.
    """
    home = RunDirectory(directory)
    record = {
        "arm": cell.arm,
        "seed": cell.seed,
        "identity": cell.identity,
        "parts": cell.parts,
        "failed": failed,
        "pruned": pruned,
        "deviation": deviation,
        "curves": curves(home),
        "final": finals(home, cell.config.run),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_atomic(directory / RECORD, json.dumps({**record, SEAL: digest(record)}, indent=1) + "\n")
    return record


def read_record(directory: Path, cell: Cell) -> Record | None:
    """The record of a cell, or None where there is none, or one that is damaged or of another identity."""
    try:
        record = json.loads((directory / RECORD).read_text())
        seal = record.pop(SEAL)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return record if seal == digest(record) and record["identity"] == cell.identity else None


def curves(home: RunDirectory) -> dict[str, list[list[Any]]]:
    """Each metric of a run, times left out, by update."""
    found: dict[str, list[list[Any]]] = {}
    for record in home.metrics():
        for name, value in record.items():
            if name != "step" and not name.startswith("time/"):
                found.setdefault(name, []).append([record["step"], value])
    return found


def finals(home: RunDirectory, run: Run) -> dict[str, float | None]:
    """The last value of each metric, up to the best evaluation where the run may stop early."""
    found = curves(home)
    scored = [(value, step) for step, value in found.get(run.metric, []) if value is not None]
    last = float("inf")
    if run.patience is not None and scored:
        best = (max if run.maximize else min)(value for value, _ in scored)
        last = next(step for value, step in scored if value == best)
    within = {name: [value for step, value in points if step <= last] for name, points in found.items()}
    return {name: values[-1] for name, values in within.items() if values}


def is_complete(home: RunDirectory, run: Run) -> bool:
    """Whether a run has all its updates or stopped early, and was not stopped by a signal."""
    steps = Checkpoints(home.checkpoints).steps()
    if not steps:
        return False
    return steps[-1] == run.steps or (run.patience is not None and since_best(home.metrics(), run) >= run.patience)


def value_of(record: Record, metric: str) -> tuple[float | None, str | None]:
    """A cell's value of a metric, or None and why there is none."""
    if why := record["failed"] or record["pruned"]:
        return None, why
    if metric not in record["final"]:
        return None, f"the run reports no {metric}"
    value = record["final"][metric]
    return value, f"{metric} is not finite" if value is None else None


def write_atomic(path: Path, text: str) -> None:
    """Write a file whole or not at all, and on disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
