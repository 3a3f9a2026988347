"""Cells on their way to another process: made plain values by the driver, trained by a worker, and what it answers."""

import inspect
import os
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute.plan import CellGroup, plan
from jaxlm.ablate.execute.runner import Runner
from jaxlm.ablate.record import Record
from jaxlm.ablate.sources import Sources
from jaxlm.errors import BadInput
from jaxlm.runs.code import keep_code
from jaxlm.runs.files import reason
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import class_names, flatten, from_json, to_json
from jaxlm.train.experiment import Build
from jaxlm.train.main import keep_compiled_programs

Task = dict[str, Any]
TaskResult = tuple[str, Any]  # ("records", list of them), ("refused", one line) or ("broken", a traceback)
SHOWN = 5  # differences that a refusal names


def to_task(build: Build, group: CellGroup, directory: Path) -> Task:
    """Return a group of cells as plain values, with the paths of the experiment file and the working directory.

    Raises:
        BadInput: another process cannot find `build`, which must be defined at the top of its file.
    """
    if "." in build.__qualname__:
        raise BadInput(f"{build.__qualname__} cannot be found by another process: define it at the top of a file")
    keep_code(directory, {name for cell in group for name in class_names(to_json(cell.config))})
    return {
        "folder": os.getcwd(),
        "experiment": inspect.getfile(build),
        "build": build.__name__,
        "directory": str(directory),
        "cells": [(cell.arm, to_json(cell.config), cell.parts, cell.packing) for cell in group],
    }


def run_task(task: Task) -> TaskResult:
    """Train the cells of a task in this process. Nothing but a signal (KeyboardInterrupt) is raised here."""
    try:
        os.chdir(task["folder"])
        build, sources = _loaded(task["experiment"], task["build"])
        group, directory = [], Path(task["directory"])
        for arm, config, parts, packing in task["cells"]:
            cell = plan(build, Arm(arm), from_json(config, directory), sources, packing)
            check_as_planned(cell, parts)
            group.append(cell)
        made = {(cell.arm, cell.seed): record for cell, record in _runner(build, task["directory"]).run(group)}
        return "records", [made[cell.arm, cell.seed] for cell in group]
    except BadInput as error:
        return "refused", str(error)
    except OSError as error:
        return "refused", f"{reason(error)} ({error.filename or task['directory']}): fix that and run the command again"
    except Exception:
        return "broken", traceback.format_exc()


@cache
def _loaded(experiment: str, name: str) -> tuple[Build, Sources]:
    """Return the build function of an experiment file and its sources, as this process has them."""
    keep_compiled_programs()
    sources = Sources(experiment)
    return getattr(load_module(experiment), name), sources


@cache
def _runner(build: Build, directory: str) -> Runner:
    """Return one runner for all tasks, so that a program is compiled once in this process."""
    return Runner(build, Path(directory))


def check_as_planned(cell: Cell, planned: dict[str, Any]) -> None:
    """Check that a cell has the identity in this process that the driver planned.

    Otherwise its numbers would be those of another machine, or of other code or data, under a wrong identity.

    Raises:
        BadInput: names what differs.
    """
    if cell.parts == planned:
        return
    there, here = flatten(planned), flatten(cell.parts)
    names = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    found = [f"{name} {there.get(name)} planned, {here.get(name)} in the worker" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    raise BadInput(
        f"{cell.arm}, seed {cell.seed}, is planned for what its worker is not ({'; '.join([*found, *more])}): "
        "let both have the same machine, environment, code and data"
    )


def records_of(answer: TaskResult) -> list[Record]:
    """Return the records of an answer.

    Raises:
        BadInput: the worker refused the task.
        RuntimeError: an error in the worker.
    """
    kind, value = answer
    if kind == "refused":
        raise BadInput(value)
    if kind == "broken":
        raise RuntimeError(f"an error in a worker\n{value}")
    return value
