"""Train groups of cells in this process. Each cell leaves an ordinary run directory and its record."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute.plan import CellGroup, folder_of
from jaxlm.ablate.execute.progress import CellProgress
from jaxlm.ablate.record import Record, read_record, write_record
from jaxlm.errors import BadInput, MachineError, one_line
from jaxlm.parallel.together import Kind
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.train import train
from jaxlm.train.experiment import Build
from jaxlm.train.main import Stop
from jaxlm.train.packs.pack import train_pack
from jaxlm.train.packs.program import share_compilation


class Runner:
    """Train groups of cells, one after another. Cells of one program that follow each other are compiled once.

    Args:
        build: composes the runs.
        directory: of the ablation.
        progress: shows which cells begin.
    """

    def __init__(self, build: Build, directory: Path, progress: CellProgress | None = None):
        self._build, self._directory, self._progress = share_compilation(build), directory, progress

    def run(self, group: CellGroup) -> Iterator[tuple[Cell, Record]]:
        """Train the cells of a group, or go on with them; yields each with its record as it ends.

        A record that is there is left as it is.

        Raises:
            MachineError: what is wrong with the machine, such as a full disk. The cell stays open.
            Stopped: a signal stopped a run. The cell stays open.
        """
        by_step: dict[int, list[Cell]] = {}
        for cell in group:
            if (record := read_record(folder_of(self._directory, cell), cell)) is not None:
                yield cell, record
            else:
                steps = Checkpoints(folder_of(self._directory, cell) / "checkpoints").steps()
                by_step.setdefault(steps[-1] if steps else 0, []).append(cell)
        for cells in by_step.values():
            packing = cells[0].packing
            if packing == "shared" or len(cells) == 1:
                yield from self._alone(cells)
            else:
                yield from self._together(cells, packing)

    def _alone(self, cells: CellGroup) -> Iterator[tuple[Cell, Record]]:
        for cell in cells:
            self._began([cell])
            yield cell, run_cell(self._build, cell, folder_of(self._directory, cell))

    def _together(self, cells: CellGroup, packing: Kind) -> Iterator[tuple[Cell, Record]]:
        """Train cells at the same time; those for which that does not work out one after another."""
        self._began(cells)
        folders = [folder_of(self._directory, cell) for cell in cells]
        try:
            with contextlib.ExitStack() as files:
                logs = [files.enter_context(open_log(folder)) for folder in folders]
                configs = [cell.config for cell in cells]
                failed = train_pack(self._build, packing, configs, folders, logs)
        except MachineError:
            raise
        except Exception as error:
            if self._progress is not None:
                self._progress.say(f"{len(cells)} cells do not train together ({one_line(error)}): one by one")
            yield from self._alone(cells)
            return
        for cell, folder, why in zip(cells, folders, failed, strict=True):
            yield cell, write_record(folder, cell, why)

    def _began(self, cells: CellGroup) -> None:
        if self._progress is not None:
            self._progress.began(cells)


def run_cell(build: Build, cell: Cell, folder: Path, stop: Stop | None = None) -> Record:
    """Train a cell, or go on with it, and write its record. What the run prints goes to <folder>.log.

    A run that ends by an error is recorded as failed.

    Args:
        build: composes the run.
        cell: the cell.
        folder: its run directory.
        stop: see `train`. A run that it ends is recorded as pruned, and goes on where a later `stop` lets it.

    Raises:
        MachineError: what is wrong with the machine, such as a full disk. The cell stays open.
        Stopped: a signal stopped the run. The cell stays open.
    """
    failed = None
    with open_log(folder) as log, contextlib.redirect_stdout(log):
        try:
            train(build, cell.config, folder, stop).raise_stopped()
        except MachineError:
            raise
        except BadInput as error:
            failed = str(error).replace(str(folder), cell.name)
        except Exception as error:
            traceback.print_exc(file=log)
            failed = one_line(error)
    pruned = stop(list(RunDirectory(folder).metrics())) if stop is not None and failed is None else None
    return write_record(folder, cell, failed, pruned)


def open_log(folder: Path) -> Any:
    """Open <folder>.log to add to it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f"{folder.name}.log").open("a", encoding="utf-8")
