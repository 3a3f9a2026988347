"""Run the cells of an ablation that are not done, one after another, each as an ordinary run directory."""

import contextlib
import fcntl
import inspect
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm, resolve
from jaxlm.ablate.cell import Cell, code_parts, identity_parts, settings, with_seed
from jaxlm.ablate.record import Record, is_complete, read_record, value_of, write_record
from jaxlm.ablate.table import tabulate, write_table
from jaxlm.errors import BadInput
from jaxlm.train import train
from jaxlm.train.experiment import Build
from jaxlm.train.run_directory import RunDirectory
from jaxlm.train.serialise import digest

SMALLER_IS_BETTER = ("loss", "error", "perplexity", "bits", "calibration")
OF_THE_MACHINE = "run the same command again"  # how the mend of a full disk and its like ends


def ablate(
    build: Build,
    base: Any,
    arms: Sequence[Arm],
    seeds: int,
    directory: str | Path,
    *,
    metric: str | None = None,
    maximize: bool | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train what `build` composes for the base and every arm at every seed, and make the table of a metric.

    The seeds count up from the base's `run.seed`. Cells that `directory` holds already are not trained again, so the
    same call goes on where a kill stopped it. The table is written to `directory` and returned as data, see `tabulate`.

    metric: the default is the base's `run.metric`.
    maximize: whether more of it is better; the default is what `is_better_larger` says.
    command: the words of a command line that trains the base, to which the page adds those of each cell.

    Raises BadInput, before anything is written, for arms that make no ablation and a base that cannot run; after the
    first run, for a metric that it does not report. KeyboardInterrupt where a signal stopped a run.
    """
    if seeds < 1:
        raise BadInput(f"--seeds {seeds}: give at least 1, and 6 or more to claim anything")
    resolved = resolve(base, arms)
    numbers = [base.run.seed + index for index in range(seeds)]
    code = code_parts(inspect.getfile(build))
    planned = {(arm.name, seed): plan(build, arm, config, seed, code) for arm, config in resolved for seed in numbers}
    metric = metric or base.run.metric
    home = Path(directory)
    with lock(home):
        records = run_cells(build, [planned[arm.name, seed] for seed in numbers for arm, _ in resolved], home, metric)
        larger = is_better_larger(metric, base.run) if maximize is None else maximize
        table = tabulate([arm for arm, _ in resolved], numbers, records, metric, larger)
        write_table(home, table, records, command)
    return table


def default_directory(config_file: Path, base: Any, arms: Sequence[Arm]) -> Path:
    """runs/ablations/<config file's name>-<digest of the base and the arms>; more seeds go on in the same one."""
    changes = [[arm.name, *arm.words] for arm in arms]
    return Path("runs") / "ablations" / f"{config_file.stem}-{digest([settings(base), changes])[:10]}"


def is_better_larger(metric: str, run: Any) -> bool:
    """Whether more of a metric is better: as the config says of its own metric, else by the metric's name."""
    if metric == run.metric:
        return run.maximize
    return not any(word in metric for word in SMALLER_IS_BETTER)


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


@contextlib.contextmanager
def lock(home: Path) -> Iterator[None]:
    """Hold a directory for one process; BadInput where another one has it or it cannot be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / ".lock").open("w")
    except OSError as error:
        raise BadInput(f"{home} cannot be written ({error.strerror}): give another --directory") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"another process is working in {home}: wait for it or stop it") from None
        yield


def run_cells(build: Build, cells: Sequence[Cell], home: Path, metric: str) -> dict[tuple[str, int], Record]:
    """The record of every cell by arm and seed, of those that are done already and of those that are run now."""
    folders = {cell.name: home / "cells" / cell.name for cell in cells}
    done = [(cell, record) for cell in cells if (record := read_record(folders[cell.name], cell)) is not None]
    records = {(cell.arm, cell.seed): record for cell, record in done}
    for cell, record in done:
        check_metric(cell, record, metric)
    if records:
        print(f"{len(records)} of {len(cells)} cells are done already", flush=True)
    for number, cell in enumerate(cells, 1):
        if (cell.arm, cell.seed) in records:
            continue
        failed = sum(value_of(record, metric)[0] is None for record in records.values())
        counts = f"{len(records) - failed} done, {failed} failed, {len(cells) - len(records)} left"
        print(f"cell {number} of {len(cells)}: {cell.arm}, seed {cell.seed} ({counts})", flush=True)
        record = run_cell(build, cell, folders[cell.name])
        check_metric(cell, record, metric)
        records[cell.arm, cell.seed] = record
        if why := value_of(record, metric)[1]:
            print(f"  failed: {why}", flush=True)
    return records


def check_metric(cell: Cell, record: Record, metric: str) -> None:
    """Raise BadInput where a run of the base does not report the metric of the table."""
    if cell.arm == BASE and record["failed"] is None and metric not in record["final"]:
        known = ", ".join(sorted(record["final"]))
        raise BadInput(f"no run reports a metric {metric}: choose one of {known}")


def run_cell(build: Build, cell: Cell, folder: Path) -> Record:
    """Train a cell, or go on with it, and write its record; what the run tells goes to <folder>.log.

    A run that cannot go on because of its config or its numbers is recorded as failed. Raises BadInput for what lies
    with the machine, such as a full disk, and KeyboardInterrupt where a signal stopped the run: the cell stays open.
    """
    home, failed = RunDirectory(folder), None
    if folder.exists() and not home.started:  # killed before it began
        shutil.rmtree(folder)
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{folder.name}.log").open("a") as log, contextlib.redirect_stdout(log):
        try:
            train(build, cell.config, folder)
        except BadInput as error:
            if OF_THE_MACHINE in str(error):
                raise
            failed = str(error).replace(str(folder), cell.name)
    if failed is None and not is_complete(home, cell.config.run):
        raise KeyboardInterrupt
    return write_record(folder, cell, failed)
