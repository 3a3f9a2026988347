"""Hyperparameter search: which point of a space gives the best metric. The home of Optuna."""

import inspect
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import BASE, Arm, parse
from jaxlm.ablate.cell import code_parts, settings
from jaxlm.ablate.record import Record, read_record, value_of
from jaxlm.ablate.run import check_metric, is_better_larger, lock
from jaxlm.ablate.space import Choice, Range, Space, words_at
from jaxlm.ablate.trials import Row, tabulate, write_trials
from jaxlm.ablate.unit import folder_of, plan, run_cell
from jaxlm.errors import BadInput
from jaxlm.train.experiment import Build
from jaxlm.train.serialise import digest

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
    is written to `directory` and returned as data, see `tabulate`.

    seed: of the search; the trials all have the seeds of the base.
    metric: the default is the base's `run.metric`.
    maximize: whether more of it is better; the default is what `is_better_larger` says.
    prune: end a run where its best value is worse than the median of what five or more whole runs had at that update.

    Raises BadInput, before anything is written, for a search of no trials, without Optuna, or with nothing to prune by,
    and for a base that cannot run; after the first run, for a metric that it does not report. KeyboardInterrupt where
    a signal stopped a run.
    """
    optuna = load_optuna()
    check(base, trials, seed, prune)
    base = replace(base, run=replace(base.run, directory=None))
    code = code_parts(inspect.getfile(build))
    plan(build, Arm(BASE), base, code)
    metric = metric or base.run.metric
    larger = is_better_larger(metric, base.run) if maximize is None else maximize
    study = optuna.create_study(
        direction="maximize" if larger else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner(),
    )
    home = Path(directory)
    rows: list[Row] = []
    with lock(home):
        for number in range(trials):
            trial = study.ask()
            point = {field: suggest(trial, field, part) for field, part in space.items()}
            words = words_at(base, point)
            print(f"trial {number} of {trials}: {' '.join(words)}", flush=True)
            record, pruned = attempt(build, base, words, home, code, Judge(trial, metric) if prune else None)
            if all(row["value"] is None for row in rows):
                check_metric(record, metric)
            row = row_of(number, point, words, record, pruned, metric)
            if row["state"] == "complete":
                study.tell(trial, row["value"])
            else:  # what failed is a bad point too, which the sampler is to avoid
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            rows.append(row)
            print(f"  {row['why'] or row['value']}", flush=True)
        table = tabulate(rows, metric, larger, seed, prune)
        write_trials(home, table)
    return table


def check(base: Any, trials: int, seed: int, prune: bool) -> None:
    """Raise BadInput for numbers that make no search."""
    if trials < 1:
        raise BadInput(f"--trials {trials}: give at least 1")
    if seed < 0:
        raise BadInput(f"--seed {seed}: give 0 or more")
    if prune and not 0 < base.run.eval_every < base.run.steps:
        raise BadInput(f"--prune needs evaluations within the {base.run.steps} updates of a run: set --run.eval-every")


def default_directory(config_file: Path, base: Any, space: Space, seed: int) -> Path:
    """runs/searches/<config file's name>-<digest of base, space and seed>; more trials go on in the same one."""
    parts = {field: asdict(part) for field, part in space.items()}
    return Path("runs") / "searches" / f"{config_file.stem}-{digest([settings(base), parts, seed])[:10]}"


def load_optuna() -> Any:
    """Optuna, told to be silent; BadInput where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise BadInput("a search needs Optuna: pip install 'jaxlm[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def suggest(trial: Any, field: str, part: Range | Choice) -> str:
    """What a trial takes for a field, as one would type it."""
    if isinstance(part, Choice):
        return trial.suggest_categorical(field, part.values)
    draw = trial.suggest_int if isinstance(part.low, int) else trial.suggest_float
    return str(draw(field, part.low, part.high, log=part.log))


@dataclass
class Judge:
    """Whether the pruner gives a trial up: a function of the records of its run, asked again as they become more."""

    trial: Any
    metric: str
    steps: int = 0
    told: int = 0  # the update of the last value that the trial knows
    reason: str | None = None

    def __call__(self, records: list[dict[str, Any]]) -> str | None:
        """Why the run is to end, or None; its last evaluation is none to end it at."""
        for record in records:
            step, value = record["step"], record.get(self.metric)
            if self.reason is None and value is not None and self.told < step < self.steps:
                self.trial.report(value, step)
                self.told = step
                if self.trial.should_prune():
                    self.reason = f"pruned at update {step}, {self.metric} {value:.5g}"
        return self.reason


def attempt(
    build: Build, base: Any, words: tuple[str, ...], home: Path, code: dict[str, Any], judge: Judge | None
) -> tuple[Record, str | None]:
    """The record of one point, that is there already or of a run now, and why the judge gives it up.

    A record of a run that another search pruned and this one does not is no end: the run goes on.
    """
    try:
        config = parse(base, words, TRIAL)
    except BadInput as error:  # values that do not go together
        return {"identity": None, "failed": str(error), "final": {}}, None
    cell = plan(build, Arm(TRIAL, words), config, code)
    folder = folder_of(home, cell)
    if judge is not None:
        judge.steps = config.run.steps

    def given_up(record: Record) -> str | None:
        return None if judge is None else judge(points(record, judge.metric))

    record = read_record(folder, cell)
    if record is None or (record["pruned"] and given_up(record) is None):
        record = run_cell(build, cell, folder, judge)
    return record, given_up(record)


def points(record: Record, metric: str) -> list[dict[str, Any]]:
    """The values of a metric over a run, as its records had them."""
    return [{"step": step, metric: value} for step, value in record["curves"].get(metric, [])]


def row_of(
    number: int, point: dict[str, str], words: tuple[str, ...], record: Record, pruned: str | None, metric: str
) -> Row:
    """What the table tells of a trial."""
    value, why = value_of(record | {"pruned": pruned}, metric)
    state = "complete" if why is None else "pruned" if pruned else "failed"
    row = {"trial": number, "state": state, "value": value, "why": why, "point": point}
    return row | {"words": list(words), "identity": record["identity"]}
