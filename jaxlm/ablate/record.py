"""The record of a cell: cell.json in its run directory, written last. A cell is done when its record is there whole."""

import json
from pathlib import Path
from typing import Any

from jaxlm.ablate.cell import Cell
from jaxlm.runs.directory import RunDirectory, best_record
from jaxlm.runs.files import write_atomic
from jaxlm.runs.serialise import digest
from jaxlm.train import Run

RECORD = "cell.json"
SEAL = "seal"
Record = dict[str, Any]


def write_record(directory: Path, cell: Cell, failed: str | None, pruned: str | None = None) -> Record:
    """Write the record of a cell that has ended, and return it.

    It has the curves of each metric, [[update, value], ...], without times, and its final value: that at the end, or
    with `run.patience` at the evaluation that was best by `run.metric`. A value that is not finite is null.

    Args:
        directory: the run directory.
        cell: the cell.
        failed: one line with the error that ended it.
        pruned: why a search ended the run early.
    """
    run_dir = RunDirectory(directory)
    record = {
        "arm": cell.arm,
        "seed": cell.seed,
        "identity": cell.identity,
        "parts": cell.parts,
        "failed": failed,
        "pruned": pruned,
        "curves": curves(run_dir),
        "final": finals(run_dir, cell.config.run),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_atomic(directory / RECORD, json.dumps({**record, SEAL: digest(record)}, indent=1) + "\n")
    return record


def read_record(directory: Path, cell: Cell) -> Record | None:
    """Return the record of a cell; None where there is none, or a damaged one, or one of another identity."""
    try:
        record = json.loads((directory / RECORD).read_text("utf-8"))
        seal = record.pop(SEAL)
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return record if seal == digest(record) and record["identity"] == cell.identity else None


def curves(run_dir: RunDirectory) -> dict[str, list[list[Any]]]:
    """Return [update, value] pairs of each metric of a run, without times."""
    found: dict[str, list[list[Any]]] = {}
    for record in run_dir.metrics():
        for name, value in record.items():
            if name != "step" and not name.startswith("time/"):
                found.setdefault(name, []).append([record["step"], value])
    return found


def finals(run_dir: RunDirectory, run: Run) -> dict[str, float | None]:
    """Return the last value of each metric; with `run.patience` that at the best evaluation."""
    return {name: value for name, (_, value) in final_points(run_dir, run).items()}


def final_points(run_dir: RunDirectory, run: Run) -> dict[str, list[Any]]:
    """Return what `finals` returns with the updates, [update, value] of each metric."""
    found = curves(run_dir)
    best = best_record(run_dir.metrics(), run) if run.patience is not None else None
    last = float("inf") if best is None else best["step"]
    within = {name: [point for point in points if point[0] <= last] for name, points in found.items()}
    return {name: points[-1] for name, points in within.items() if points}


def value_of(record: Record, metric: str) -> tuple[float | None, str | None]:
    """Return a cell's value of a metric, or None, and why there is none."""
    if why := record["failed"] or record["pruned"]:
        return None, why
    if metric not in record["final"]:
        return None, f"the run reports no {metric}"
    value = record["final"][metric]
    return value, f"{metric} is not finite" if value is None else None
