"""Plan a cell, and run a unit: the cells that share one program. A unit is one cell, an ordinary run directory."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm
from jaxlm.ablate.cell import Cell, identity_parts, settings
from jaxlm.ablate.record import Record, is_complete, read_record, write_record
from jaxlm.errors import BadInput
from jaxlm.train import train
from jaxlm.train.experiment import Build
from jaxlm.train.main import Stop
from jaxlm.train.run_directory import RunDirectory

Unit = Sequence[Cell]

OF_THE_MACHINE = "run the same command again"  # how the mend of a full disk and its like ends


def plan(build: Build, arm: Arm, config: Any, code: dict[str, Any]) -> Cell:
    """The cell of an arm, its config at a seed. One that cannot be built is a cell too; BadInput for the base."""
    try:
        config.run.validate()
        place = config.place.build()
        parts = identity_parts(config, build(config, place), place, code)
    except BadInput as error:
        if arm.name == BASE:
            raise
        parts = {**code, "config": settings(config), "refused": str(error)}
    return Cell(arm.name, config.run.seed, config, parts)


def folder_of(home: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return home / "cells" / cell.name


def run_unit(build: Build, cells: Unit, home: Path) -> list[Record]:
    """Train the cells of a unit, or go on with them, and write their records; see `run_cell` for what it raises.

    A record that is there is left as it is.
    """
    folders = [folder_of(home, cell) for cell in cells]
    return [
        read_record(folder, cell) or run_cell(build, cell, folder) for cell, folder in zip(cells, folders, strict=True)
    ]


def run_cell(build: Build, cell: Cell, folder: Path, stop: Stop | None = None) -> Record:
    """Train a cell, or go on with it, and write its record; what the run tells goes to <folder>.log.

    stop: see `train`; a run that it ends is recorded as pruned, and goes on where a later `stop` lets it.

    A run that cannot go on because of its config or its numbers is recorded as failed. Raises BadInput for what lies
    with the machine, such as a full disk, and KeyboardInterrupt where a signal stopped the run: the cell stays open.
    """
    failed = None
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.log").open("a") as log, contextlib.redirect_stdout(log):
        try:
            train(build, cell.config, folder, stop)
        except BadInput as error:
            if OF_THE_MACHINE in str(error):
                raise
            failed = str(error).replace(str(folder), cell.name)
    home = RunDirectory(folder)
    pruned = stop(list(home.metrics())) if stop is not None and failed is None else None
    if failed is None and pruned is None and not is_complete(home, cell.config.run):
        raise KeyboardInterrupt
    return write_record(folder, cell, failed, pruned)
