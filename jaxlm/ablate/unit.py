"""Plan a cell, and run a unit: the cells that share one program. A unit is one cell, an ordinary run directory."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm
from jaxlm.ablate.cell import Cell, identity_parts, settings, with_seed
from jaxlm.ablate.record import Record, is_complete, read_record, write_record
from jaxlm.errors import BadInput
from jaxlm.train import train
from jaxlm.train.experiment import Build
from jaxlm.train.run_directory import RunDirectory

Unit = Sequence[Cell]

OF_THE_MACHINE = "run the same command again"  # how the mend of a full disk and its like ends


def plan(build: Build, arm: Arm, config: Any, seed: int, code: dict[str, Any]) -> Cell:
    """The cell of an arm at a seed. An arm that cannot be built is a cell too, which fails; BadInput for the base."""
    config = with_seed(config, seed)
    try:
        config.run.validate()
        place = config.place.build()
        parts = identity_parts(config, build(config, place), place, code)
    except BadInput as error:
        if arm.name == BASE:
            raise
        parts = {**code, "config": settings(config), "refused": str(error)}
    return Cell(arm.name, seed, config, parts)


def folder_of(home: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return home / "cells" / cell.name


def run_unit(build: Build, cells: Unit, home: Path) -> list[Record]:
    """Train the cells of a unit, or go on with them, and write their records; see `run_cell` for what it raises."""
    return [run_cell(build, cell, folder_of(home, cell)) for cell in cells]


def run_cell(build: Build, cell: Cell, folder: Path) -> Record:
    """Train a cell, or go on with it, and write its record; what the run tells goes to <folder>.log.

    A record that is there is left as it is. A run that cannot go on because of its config or its numbers is recorded
    as failed. Raises BadInput for what lies with the machine, such as a full disk, and KeyboardInterrupt where a signal
    stopped the run: the cell stays open.
    """
    if (record := read_record(folder, cell)) is not None:
        return record
    failed = None
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.log").open("a") as log, contextlib.redirect_stdout(log):
        try:
            train(build, cell.config, folder)
        except BadInput as error:
            if OF_THE_MACHINE in str(error):
                raise
            failed = str(error).replace(str(folder), cell.name)
    if failed is None and not is_complete(RunDirectory(folder), cell.config.run):
        raise KeyboardInterrupt
    return write_record(folder, cell, failed)
