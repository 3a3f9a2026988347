"""Run the cells of an ablation that are not done, and make its table."""

import contextlib
import fcntl
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxlm.ablate.arms import BASE, Arm, resolve
from jaxlm.ablate.board import Board
from jaxlm.ablate.cell import Cell, code_parts, settings, with_seed
from jaxlm.ablate.executors import Executor, serial
from jaxlm.ablate.packing import Asked
from jaxlm.ablate.record import Record, read_record
from jaxlm.ablate.table import tabulate, write_table
from jaxlm.ablate.unit import folder_of, plan, units
from jaxlm.errors import BadInput
from jaxlm.train.experiment import Build
from jaxlm.train.serialise import digest

SMALLER_IS_BETTER = ("loss", "error", "perplexity", "bits", "calibration")
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
    packing: Asked = "auto",
    executor: Executor = serial,
    shares: int = 1,
    vary: Vary = "all",
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train what `build` composes for the base and every arm at every seed, and make the table of a metric.

    The seeds count up from the base's `run.seed`. Cells that `directory` holds already are not trained again, so the
    same call goes on where a kill stopped it. The table is written to `directory` and returned as data, see `tabulate`.

    metric: the default is the base's `run.metric`.
    maximize: whether more of it is better; the default is what `is_better_larger` says.
    packing: how cells that differ only in seeds and in hyperparameters that are state share a program, see
      `packing.choose` and `train.hyperparameters`.
    executor: where the cells run; the table does not depend on it.
    shares: into how many units the cells of one program are dealt, so that as many workers have some of them.
    vary: which source follows the seed of a cell; the others stay at the base's seeds in every cell.
    command: the words of a command line that trains the base, to which the page adds those of each cell.

    Raises BadInput, before anything is written, for arms that make no ablation and a base that cannot run; after the
    first run, for a metric that it does not report. KeyboardInterrupt where a signal stopped a run. OpenCells where
    workers died too often.
    """
    if seeds < 1:
        raise BadInput(f"--seeds {seeds}: give at least 1, and 6 or more to claim anything")
    resolved = resolve(base, arms)
    numbers = [base.run.seed + index for index in range(seeds)]
    code = code_parts(inspect.getfile(build))
    kept = {name: own for name, own in base.run.seeds._asdict().items() if vary not in (name, "all")}
    planned = {
        (arm.name, seed): plan(build, arm, with_seed(config, seed, kept), code, packing)
        for arm, config in resolved
        for seed in numbers
    }
    metric = metric or base.run.metric
    home = Path(directory)
    with lock(home):
        cells = [planned[arm.name, seed] for seed in numbers for arm, _ in resolved]
        records = run_cells(build, cells, home, metric, executor, shares)
        larger = is_better_larger(metric, base.run) if maximize is None else maximize
        table = tabulate([arm for arm, _ in resolved], numbers, records, metric, larger, kept)
        write_table(home, table, records, command)
    return table


def default_directory(config_file: Path, base: Any, arms: Sequence[Arm], vary: Vary = "all") -> Path:
    """runs/ablations/<config file's name>-<digest of the base and the arms>; more seeds go on in the same one.

    One source of variation has a directory of its own: -init, -data or -noise at the end.
    """
    changes = [[arm.name, *arm.words] for arm in arms]
    source = "" if vary == "all" else f"-{vary}"
    return Path("runs") / "ablations" / f"{config_file.stem}-{digest([settings(base), changes])[:10]}{source}"


def is_better_larger(metric: str, run: Any) -> bool:
    """Whether more of a metric is better: as the config says of its own metric, else by the metric's name."""
    if metric == run.metric:
        return run.maximize
    return not any(word in metric for word in SMALLER_IS_BETTER)


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


def run_cells(
    build: Build, cells: Sequence[Cell], home: Path, metric: str, executor: Executor, shares: int
) -> dict[tuple[str, int], Record]:
    """The record of every cell by arm and seed, of those that are done already and of those that are run now."""
    found = [(cell, read_record(folder_of(home, cell), cell)) for cell in cells]
    records = {(cell.arm, cell.seed): record for cell, record in found if record is not None}
    for cell, record in found:
        if record is not None and cell.arm == BASE:
            check_metric(record, metric)
    todo = units([cell for cell, record in found if record is None], shares)
    with Board(cells, records, metric) as board, contextlib.closing(executor(build, todo, home, board)) as finished:
        for unit, made in finished:
            for cell, record in zip(unit, made, strict=True):
                if cell.arm == BASE:
                    check_metric(record, metric)
                records[cell.arm, cell.seed] = record
                board.ended(cell, record)
    return records


def check_metric(record: Record, metric: str) -> None:
    """Raise BadInput where a run does not report the metric of the table."""
    if record["failed"] is None and metric not in record["final"]:
        known = ", ".join(sorted(record["final"]))
        raise BadInput(f"no run reports a metric {metric}: choose one of {known}")
