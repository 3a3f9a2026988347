"""Run the cells of an ablation that are not done, and make its table."""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

from jaxlm.ablate.arms import BASE, Arm, resolve
from jaxlm.ablate.audit.lost import say_lost
from jaxlm.ablate.cell import Cell, Packing, settings, with_seed
from jaxlm.ablate.execute.plan import folder_of, group_cells, plan
from jaxlm.ablate.execute.pool import Executor, serial
from jaxlm.ablate.execute.progress import CellProgress
from jaxlm.ablate.record import Record, read_record
from jaxlm.ablate.report.table import ablation_table, write_table
from jaxlm.ablate.sources import Sources
from jaxlm.errors import BadInput
from jaxlm.runs.files import lock
from jaxlm.runs.serialise import digest
from jaxlm.train.experiment import Build

Vary = Literal["all", "init", "data", "noise"]  # the source of variation that follows the seed


def ablate(
    build: Build,
    base: Any,
    arms: Sequence[Arm],
    seeds: int,
    directory: str | Path,
    *,
    metric: str | None = None,
    maximize: bool | None = None,
    packing: Packing = "shared",
    executor: Executor = serial,
    workers: int = 1,
    vary: Vary = "all",
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train what `build` composes for the base and every arm at every seed, and make the table of a metric.

    Cells that `directory` has already are not trained again, so the same call goes on where a kill stopped it. The
    table is written to `directory` and returned as data, see `ablation_table`.

    Args:
        build: composes a run.
        base: the config.
        arms: changes of it.
        seeds: how many, counted up from the base's `run.seed`.
        directory: of cells and table.
        metric: of the table; the default is the base's `run.metric`.
        maximize: whether larger is better; the default is what `is_better_larger` returns.
        packing: how cells that differ only in seeds and in hyperparameters of the state (`train.hyperparameters`) share
            a compiled program: "shared" trains them one after another, "devices" one a device at the same time, both
            with the bits of a run alone; "vmapped" all at the same time, to rounding.
        executor: where the cells are trained; the table does not depend on it.
        workers: of the executor, so that each gets some of the cells that are trained at the same time.
        vary: which source of variation follows the seed of a cell; the others stay at the base's seeds.
        command: the words of a command line that trains the base, to which the page adds those of each cell.

    Raises:
        BadInput: before anything is written, for arms that make no ablation and a base that cannot run; after the
            first run, for a metric that it does not report.
        Stopped: a signal stopped a run.
        OpenCells: workers died too often.
    """
    if seeds < 1:
        raise BadInput(f"--seeds {seeds}: give at least 1; to claim anything, one arm needs 6 and six arms 8")
    resolved, numbers = resolve(base, arms), range(base.run.seed, base.run.seed + seeds)
    kept = {name: own for name, own in base.run.seeds._asdict().items() if vary not in (name, "all")}
    cells = plan_cells(build, resolved, numbers, kept, packing)
    metric, folder = metric or base.run.metric, Path(directory)
    with lock_directory(folder):
        records = run_cells(build, cells, folder, metric, executor, workers)
        larger = is_better_larger(metric, base.run) if maximize is None else maximize
        table = ablation_table([arm for arm, _ in resolved], numbers, records, metric, larger, kept)
        write_table(folder, table, records, command)
    return table


def plan_cells(
    build: Build,
    resolved: Sequence[tuple[Arm, Any]],
    seeds: Sequence[int],
    kept: Mapping[str, int],
    packing: Packing,
) -> list[Cell]:
    """Plan a cell for every arm at every seed, and return them seed by seed.

    Args:
        build: composes a run.
        resolved: the arms with their configs, the base first.
        seeds: of the cells.
        kept: sources of variation that keep a seed of their own.
        packing: see `ablate`.
    """
    sources = Sources(inspect.getfile(build))
    by_arm = [
        [plan(build, arm, with_seed(config, n, kept), sources, packing) for n in seeds] for arm, config in resolved
    ]
    return [cell for of_seed in zip(*by_arm, strict=True) for cell in of_seed]


def ablation_directory(config_file: Path, base: Any, arms: Sequence[Arm], vary: Vary = "all") -> Path:
    """Return runs/ablations/<config file's name>-<digest of the base and the arms>; more seeds go on in the same one.

    For one source of variation it ends in -init, -data or -noise.
    """
    changes = [[arm.name, *arm.words] for arm in arms]
    source = "" if vary == "all" else f"-{vary}"
    return Path("runs") / "ablations" / f"{config_file.stem}-{digest([settings(base), changes])[:10]}{source}"


def is_better_larger(metric: str, run: Any) -> bool:
    """Return whether larger is better: as the config says of its own metric, else by the metric's name."""
    return (run if metric == run.metric else replace(run, metric=metric, maximize=False)).higher_is_better


def lock_directory(directory: Path) -> TextIO:
    """Lock the directory of an ablation for this process, until the file that is returned is closed.

    Raises:
        MachineError: another process works in it.
        BadInput: it cannot be written.
    """
    try:
        return lock(directory)
    except OSError as error:
        raise BadInput(f"{directory} cannot be written ({error.strerror}): give another --directory") from None


def run_cells(
    build: Build, cells: Sequence[Cell], directory: Path, metric: str, executor: Executor, workers: int
) -> dict[tuple[str, int], Record]:
    """Return the record of every cell by arm and seed, of those that are done already and of those trained now."""
    found = [(cell, read_record(folder_of(directory, cell), cell)) for cell in cells]
    records = {(cell.arm, cell.seed): record for cell, record in found if record is not None}
    for cell, record in found:
        if record is not None and cell.arm == BASE:
            check_metric(record, metric)
    todo = [cell for cell, record in found if record is None]
    groups = group_cells(todo, workers)
    with (
        CellProgress(cells, records, metric) as progress,
        contextlib.closing(executor(build, groups, directory, progress)) as finished,
    ):
        for line in say_lost(directory, todo):
            progress.say(line)
        for cell, record in finished:
            if cell.arm == BASE:
                check_metric(record, metric)
            records[cell.arm, cell.seed] = record
            progress.ended(cell, record)
    return records


def check_metric(record: Record, metric: str) -> None:
    """Raise BadInput where a run does not report the metric of the table."""
    if record["failed"] is None and metric not in record["final"]:
        known = ", ".join(sorted(record["final"]))
        raise BadInput(f"no run reports a metric {metric}: choose one of {known}")
