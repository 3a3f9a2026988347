"""Cross-validation: train on all folds but one, evaluate on that one, for every fold; one table."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from tabulate import tabulate

from jaxlm.errors import BadInput
from jaxlm.runs.files import write_atomic


def crossval(args: argparse.Namespace, overrides: list[str]) -> int:
    """Train every fold in a directory of its own and print the table of a metric.

    A fold that is done is not trained again, so the same command goes on where it stopped.

    Raises:
        BadInput: folds that cannot be, and a fold that diverged.
        Stopped: a signal stopped a fold. No table is written.
    """
    from jaxlm.runs.directory import RunDirectory, default_directory
    from jaxlm.runs.load import load_module
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.config import load_config, override, shorten_warmup
    from jaxlm.train.main import keep_compiled_programs, train

    args.experiment, args.config = map(str, find_both([args.experiment, args.config]))
    if args.folds < 2:
        raise BadInput(f"--folds {args.folds}: give at least 2")
    keep_compiled_programs()
    base = load_config(args.config)
    if not hasattr(base.data, "folds"):
        raise BadInput(f"the data of {args.config} cannot be cut in folds: those of images, questions and tables can")
    build = load_module(args.experiment).build
    whole = override(base, [*overrides, "--data.folds", str(args.folds)], "jaxlm crossval")
    whole = shorten_warmup(whole, base, overrides)
    directory = Path(args.directory or f"{default_directory(Path(args.config), whole)}-crossval")
    metric = args.metric or whole.run.metric
    values = []
    for fold in range(args.folds):
        run_dir = RunDirectory(directory / f"fold-{fold}")
        print(f"fold {fold} of {args.folds}: {run_dir.path}", flush=True)
        train(build, override(whole, ["--data.fold", str(fold)]), run_dir.path).raise_stopped()
        values.append(final_value(run_dir, metric, whole.run))
    shown = fold_table(metric, values)
    write_folds(directory, {"metric": metric, "folds": args.folds, "values": values, **fold_summary(values)}, shown)
    print(shown)
    return 0


def final_value(run_dir: Any, metric: str, run: Any) -> float:
    """Return the metric at the end of a run; with `run.patience` at the evaluation that was best by `run.metric`.

    Raises:
        BadInput: the run does not report it, or diverged.
    """
    from jaxlm.ablate.record import finals

    values = finals(run_dir, run)
    if metric not in values:
        known = ", ".join(sorted(values))
        raise BadInput(f"{run_dir.path} has no metric {metric}: choose one that its metrics.jsonl has, of {known}")
    value = values[metric]
    if value is None:
        raise BadInput(
            f"{metric} at the end of {run_dir.path} is not finite: lower the learning rate, as every fold counts"
        )
    return value


def fold_summary(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation (n - 1) and the half-width of the 95 % t-interval of the mean."""
    from scipy.stats import t

    count, mean = len(values), math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return {"mean": mean, "std": deviation, "half_width": float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)}


def fold_table(metric: str, values: list[float]) -> str:
    """Return the values of the folds, and their mean with its interval."""
    found = fold_summary(values)
    rows: list[tuple[Any, str]] = [("fold", metric), *((fold, f"{value:.4f}") for fold, value in enumerate(values))]
    rows.append(("mean", f"{found['mean']:.4f}"))
    low, high = found["mean"] - found["half_width"], found["mean"] + found["half_width"]
    lines = [
        tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=("right", "right")),
        f"Standard deviation {found['std']:.4f}, 95 % t-interval of the mean {low:.4f} to {high:.4f}.",
        "The folds share training data, so for other data the interval is too narrow (Dietterich 1998).",
    ]
    return "\n".join(lines)


def write_folds(home: Path, record: dict[str, Any], shown: str) -> None:
    """Keep the table beside the folds, whole or not at all."""
    write_atomic(home / "crossval.json", json.dumps(record, indent=1) + "\n")
    write_atomic(home / "crossval.txt", shown + "\n")
