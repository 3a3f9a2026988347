"""Plan a cell, and run a unit: the cells that share one program. Each leaves an ordinary run directory."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm
from jaxlm.ablate.board import Board
from jaxlm.ablate.cell import Cell, identity_parts, settings
from jaxlm.ablate.packing import Asked, Choice, choose, even
from jaxlm.ablate.record import Record, curves, is_complete, read_record, write_record
from jaxlm.errors import BadInput
from jaxlm.train import train
from jaxlm.train.checkpoint import Checkpoints, digests
from jaxlm.train.experiment import Build
from jaxlm.train.main import Stop
from jaxlm.train.pack import train_pack
from jaxlm.train.program import Program, program_digest, sharing
from jaxlm.train.run_directory import RunDirectory

Unit = Sequence[Cell]

OF_THE_MACHINE = "run the same command again"  # how the mend of a full disk and its like ends


def plan(build: Build, arm: Arm, config: Any, code: dict[str, Any], packing: Asked = "alone") -> Cell:
    """The cell of an arm, its config at a seed. One that cannot be built is a cell too; BadInput for the base."""
    try:
        config.run.validate()
        place = config.place.build()
        experiment = build(config, place)
        parts = identity_parts(config, experiment, place, code, packing)
    except BadInput as error:
        if arm.name == BASE:
            raise
        parts = {**code, "config": settings(config), "refused": str(error)}
        return Cell(arm.name, config.run.seed, config, parts, packing)
    program = program_digest(config, experiment.hyperparameters)
    return Cell(arm.name, config.run.seed, config, parts, packing, program)


def folder_of(home: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return home / "cells" / cell.name


def units(cells: Sequence[Cell], shares: int) -> list[Unit]:
    """Cells that can share one program together, each such group dealt out in as many shares; all others alone.

    Cells that are to be packed with none are a unit each where there are several shares.
    """
    groups: dict[Any, list[Cell]] = {}
    for number, cell in enumerate(cells):
        single = cell.packing == "alone" and shares > 1
        groups.setdefault((not single and cell.program) or number, []).append(cell)
    return [group[share::shares] for group in groups.values() for share in range(min(shares, len(group)))]


def run_unit(build: Build, unit: Unit, home: Path, board: Board | None = None) -> Iterator[tuple[Unit, list[Record]]]:
    """Train the cells of a unit, or go on with them, and write their records; yields them as they end.

    A record that is there is left as it is. Cells are packed with those that stand at the same update.

    board: what is told which cells begin. For what is raised see `run_cell`.
    """
    by_step: dict[int, list[Cell]] = {}
    for cell in unit:
        if (record := read_record(folder_of(home, cell), cell)) is not None:
            yield [cell], [record]
        else:
            steps = Checkpoints(folder_of(home, cell) / "checkpoints").steps()
            by_step.setdefault(steps[-1] if steps else 0, []).append(cell)
    for cells in by_step.values():
        if len(cells) > 1:
            yield from run_together(build, cells, home, board)
        else:
            yield from run_alone(build, cells, home, board)


def run_together(build: Build, cells: Unit, home: Path, board: Board | None) -> Iterator[tuple[Unit, list[Record]]]:
    """Train cells of one program: packed, or one after another with one compilation."""
    first = cells[0].config
    shared = sharing(build, build(first, first.place.build()))
    choice = choose(shared, [cell.config for cell in cells], cells[0].packing)
    if board is not None:
        board.say(f"{len(cells)} cells share a program: {choice.told}")
    if choice.program is None:
        yield from run_alone(shared, cells, home, board)
        return
    for part in parts_of(cells, choice):
        if board is not None:
            board.began(part)
        records = run_pack(shared, choice.program, part, home, choice.deviation)
        if records is None:
            if board is not None:
                board.say("a run of the pack has other bits than alone: its cells are trained anew, one after another")
            yield from run_alone(shared, part, home, board)
        else:
            yield part, records


def parts_of(cells: Unit, choice: Choice) -> Iterator[Unit]:
    """Cells in parts as wide as a choice says, or less at the end, such that each part deals out evenly."""
    rest = list(cells)
    while rest:
        width = even(min(choice.width, len(rest)), choice.program.devices if choice.program else 1)
        part, rest = rest[:width], rest[width:]
        yield part


def run_alone(build: Build, cells: Unit, home: Path, board: Board | None) -> Iterator[tuple[Unit, list[Record]]]:
    """Train cells one after another."""
    for cell in cells:
        if board is not None:
            board.began([cell])
        yield [cell], [run_cell(build, cell, folder_of(home, cell))]


def run_pack(build: Build, program: Program, cells: Unit, home: Path, deviation: float) -> list[Record] | None:
    """Train cells in one program and write their records; cells that cannot begin together are run alone.

    None, and nothing is left of them, where the packing was thought to be exact and is not: see `is_exact`.
    """
    folders = [folder_of(home, cell) for cell in cells]
    (home / "cells").mkdir(exist_ok=True)
    try:
        with contextlib.ExitStack() as files:
            logs = [files.enter_context(folder.with_name(f"{folder.name}.log").open("a")) for folder in folders]
            ends = train_pack(program, build, [cell.config for cell in cells], folders, logs)
    except BadInput as error:
        if OF_THE_MACHINE in str(error):
            raise
        return [run_cell(build, cell, folder) for cell, folder in zip(cells, folders, strict=True)]
    ended = list(zip(cells, folders, ends, strict=True))
    if any(why is None and not is_complete(RunDirectory(folder), cell.config.run) for cell, folder, why in ended):
        raise KeyboardInterrupt
    whole = next(((cell, folder) for cell, folder, why in reversed(ended) if why is None), None)
    if not deviation and whole is not None and not is_exact(build, *whole):
        for folder in folders:
            shutil.rmtree(folder)
        return None
    return [write_record(folder, cell, why, deviation=deviation) for cell, folder, why in ended]


def is_exact(build: Build, cell: Cell, folder: Path) -> bool:
    """Whether a packed run has every bit of its metrics and of its final state when it is trained alone.

    A trial is short, and a program that rounds otherwise once in a thousand updates passes it: so the last run of every
    pack is trained again; the first is the one that XLA was seen to keep exact where it rounds the others otherwise.
    Raises KeyboardInterrupt where a signal stopped that, and what lies with the machine.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".again-") as scratch:
        alone = Path(scratch) / "run"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                train(build, cell.config, alone)
        except BadInput as error:
            if OF_THE_MACHINE in str(error):
                raise
            return False
        if not is_complete(RunDirectory(alone), cell.config.run):
            raise KeyboardInterrupt
        return outcome(alone) == outcome(folder)


def outcome(folder: Path) -> tuple[Any, Any]:
    """The metrics of a run, times left out, and the digests of its newest state."""
    home = RunDirectory(folder)
    checkpoints = Checkpoints(home.checkpoints)
    return curves(home), digests(checkpoints.restore_raw(checkpoints.steps()[-1]))


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
