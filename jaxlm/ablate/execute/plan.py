"""Plan the cells of an ablation: build each once, and group those that are trained at the same time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxlm.ablate.arms import BASE, Arm
from jaxlm.ablate.cell import Cell, Packing, identity_parts, settings
from jaxlm.ablate.sources import Sources
from jaxlm.errors import BadInput, one_line
from jaxlm.train.experiment import Build
from jaxlm.train.packs.program import can_train_together, program_digest
from jaxlm.train.recorder import compose

CellGroup = Sequence[Cell]
WIDEST = 32  # runs of a vmapped program


def plan(build: Build, arm: Arm, config: Any, sources: Sources, packing: Packing = "shared") -> Cell:
    """Return the cell of an arm. An arm that cannot be built is a cell too, and its record says why.

    Args:
        build: composes the run.
        arm: the arm.
        config: of the arm, at a seed.
        sources: of the experiment file.
        packing: asked for; a run that cannot be trained at the same time as others has "shared".

    Raises:
        BadInput: the base cannot be built.
    """
    packing = packing if can_train_together(config) else "shared"
    try:
        config.run.validate()
        experiment, place = compose(build, config)
        parts = identity_parts(config, experiment, place, sources, packing)
    except Exception as error:
        if arm.name == BASE:
            raise
        why = str(error) if isinstance(error, BadInput) else one_line(error)
        parts = {**sources.parts(config), "config": settings(config), "refused": why}
        return Cell(arm.name, config.run.seed, config, parts)
    program = program_digest(config, experiment.hyperparameters)
    return Cell(arm.name, config.run.seed, config, parts, packing, program)


def folder_of(directory: Path, cell: Cell) -> Path:
    """Return the run directory of a cell, for the directory of an ablation."""
    return directory / "cells" / cell.name


def group_cells(cells: Sequence[Cell], workers: int = 1) -> list[CellGroup]:
    """Group the cells that are trained at the same time, and put those of one program one after another.

    Args:
        cells: of any programs.
        workers: how many processes the cells of one program are to be dealt out to.
    """
    programs: dict[Any, list[Cell]] = {}
    for number, cell in enumerate(cells):
        programs.setdefault(cell.program or number, []).append(cell)
    groups: list[CellGroup] = []
    for same in programs.values():
        most = {"shared": 1, "devices": jax.local_device_count(), "vmapped": WIDEST}[same[0].packing]
        width = min(most, -(-len(same) // workers))
        groups += [same[first : first + width] for first in range(0, len(same), width)]
    return groups
