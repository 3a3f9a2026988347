"""Hyperparameter search: which point of a space gives the best metric. The folder of Optuna."""

import inspect
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm
from jaxlm.ablate.cell import settings
from jaxlm.ablate.execute.plan import folder_of, plan
from jaxlm.ablate.execute.runner import run_cell
from jaxlm.ablate.record import Record, read_record, value_of
from jaxlm.ablate.report.trials import TrialRow, trials_table, write_trials
from jaxlm.ablate.run import check_metric, is_better_larger, lock_directory
from jaxlm.ablate.sources import Sources
from jaxlm.ablate.space import Choice, Range, Space, words_at
from jaxlm.errors import BadInput
from jaxlm.runs.serialise import digest
from jaxlm.runs.settings import check_seed
from jaxlm.train.experiment import Build
from jaxlm.train.packs.program import share_compilation

TRIAL = "trial"  # the arm of every cell: a point that comes again is the same cell


def search(
    build: Build,
    base: Any,
    space: Space,
    trials: int,
    directory: str | Path,
    *,
    seed: int = 0,
    metric: str | None = None,
    maximize: bool | None = None,
    prune: bool = False,
) -> dict[str, Any]:
    """Train what `build` composes at promising points of a space, one after another, and make the table of a metric.

    The points come from a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24). They are a function of
    space, seed and the records of the trials before. So cells that `directory` holds already are not trained again and
    change nothing, the same call goes on where a kill stopped it, and more trials begin with those of fewer. The table
    is written to `directory` and returned as data, see `trials_table`.

    Args:
        build: composes a run.
        base: the config.
        space: a range or a choice for each field.
        trials: how many runs in all.
        directory: of cells and table.
        seed: of the search; all trials have the seeds of the base.
        metric: to be made best; the default is the base's `run.metric`.
        maximize: whether larger is better; the default is what `is_better_larger` returns.
        prune: end a run when its best value is worse than the median of five or more whole runs at that update.

    Raises:
        BadInput: before anything is written, for a search of no trials, without Optuna, with nothing to prune by, or of
            a base that cannot run; after the first run, for a metric that it does not report.
        Stopped: a signal stopped a run.
    """
    optuna = load_optuna()
    check(base, trials, seed, prune)
    base = replace(base, run=replace(base.run, directory=None))
    sources = Sources(inspect.getfile(build))
    plan(build, Arm(BASE), base, sources)
    metric = metric or base.run.metric
    larger = is_better_larger(metric, base.run) if maximize is None else maximize
    study = new_study(optuna, larger, seed, prune)
    folder, build = Path(directory), share_compilation(build)
    rows: list[TrialRow] = []
    with lock_directory(folder):
        for number in range(trials):
            trial = study.ask()
            point = {field: suggest(trial, field, part) for field, part in space.items()}
            words = words_at(base, point)
            print(f"trial {number} of {trials}: {' '.join(words)}", flush=True)
            record, pruned = attempt(build, base, words, folder, sources, Judge(trial, metric) if prune else None)
            if all(row["value"] is None for row in rows):
                check_metric(record, metric)
            rows.append(row_of(number, point, words, record, pruned, metric))
            tell_study(optuna, study, trial, rows[-1])
        table = trials_table(rows, metric, larger, seed, prune)
        write_trials(folder, table)
    return table


def new_study(optuna: Any, larger: bool, seed: int, prune: bool) -> Any:
    """Return a study of Optuna: a tree-structured Parzen estimator that starts at a seed, and a pruner or none."""
    return optuna.create_study(
        direction="maximize" if larger else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
    )


def tell_study(optuna: Any, study: Any, trial: Any, row: TrialRow) -> None:
    """Give a study the value of a trial, and print it. A trial that failed is a bad point, which is to be avoided."""
    if row["state"] == "complete":
        study.tell(trial, row["value"])
    else:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    print(f"  {row['why'] or row['value']}", flush=True)


def check(base: Any, trials: int, seed: int, prune: bool) -> None:
    """Raise BadInput for numbers that make no search."""
    if trials < 1:
        raise BadInput(f"--trials {trials}: give at least 1")
    check_seed(seed, "--seed")
    if prune and not 0 < base.run.eval_every < base.run.steps:
        raise BadInput(f"--prune needs evaluations within the {base.run.steps} updates of a run: set --run.eval-every")


def search_directory(config_file: Path, base: Any, space: Space, seed: int) -> Path:
    """Return runs/searches/<config file's name>-<digest of base, space, seed>; more trials go on in the same one."""
    parts = {field: asdict(part) for field, part in space.items()}
    return Path("runs") / "searches" / f"{config_file.stem}-{digest([settings(base), parts, seed])[:10]}"


def load_optuna() -> Any:
    """Return Optuna, which prints warnings only, or raise BadInput where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise BadInput("a search needs Optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def suggest(trial: Any, field: str, part: Range | Choice) -> str:
    """Return the value that a trial takes for a field, as one would type it."""
    if isinstance(part, Choice):
        return trial.suggest_categorical(field, part.values)
    draw = trial.suggest_int if isinstance(part.low, int) else trial.suggest_float
    return str(draw(field, part.low, part.high, log=part.log))


@dataclass
class Judge:
    """Decide whether a trial is pruned, from the records of its run so far.

    Attributes:
        trial: Optuna's.
        metric: that is reported to it.
        steps: updates of a whole run.
        reported: the update of the last value that the trial has.
        reason: why it is pruned, or None.
    """

    trial: Any
    metric: str
    steps: int = 0
    reported: int = 0
    reason: str | None = None

    def __call__(self, records: list[dict[str, Any]]) -> str | None:
        """Return why the run is to end, or None. It is never ended at its last evaluation."""
        for record in records:
            step, value = record["step"], record.get(self.metric)
            if self.reason is None and value is not None and self.reported < step < self.steps:
                self.trial.report(value, step)
                self.reported = step
                if self.trial.should_prune():
                    self.reason = f"pruned at update {step}, {self.metric} {value:.5g}"
        return self.reason


def attempt(
    build: Build, base: Any, words: tuple[str, ...], folder: Path, sources: Sources, judge: Judge | None
) -> tuple[Record, str | None]:
    """Return the record of one point, of an earlier run or one now, and why the judge prunes it, or None.

    A run that another search pruned and this one does not goes on.
    """
    try:
        config = Arm(TRIAL, words).config(base)
    except BadInput as error:  # values that do not go together
        return {"identity": None, "failed": str(error), "final": {}}, None
    cell = plan(build, Arm(TRIAL, words), config, sources)
    run_dir = folder_of(folder, cell)
    if judge is not None:
        judge.steps = config.run.steps

    def pruned(record: Record) -> str | None:
        return None if judge is None else judge(points(record, judge.metric))

    record = read_record(run_dir, cell)
    if record is None or (record["pruned"] and pruned(record) is None):
        record = run_cell(build, cell, run_dir, judge)
    return record, pruned(record)


def points(record: Record, metric: str) -> list[dict[str, Any]]:
    """Return the values of a metric over a run, as its records had them."""
    return [{"step": step, metric: value} for step, value in record["curves"].get(metric, [])]


def row_of(
    number: int, point: dict[str, str], words: tuple[str, ...], record: Record, pruned: str | None, metric: str
) -> TrialRow:
    """Return the row of a trial in the table."""
    value, why = value_of(record | {"pruned": pruned}, metric)
    state = "complete" if why is None else "pruned" if pruned else "failed"
    row = {"trial": number, "state": state, "value": value, "why": why, "point": point}
    return row | {"words": list(words), "identity": record["identity"]}
