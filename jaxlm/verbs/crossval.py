"""Cross-validation: train on all folds but one, evaluate on that one, for every fold; one table."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput


def crossval(words: argparse.Namespace, rest: list[str]) -> int:
    """Train every fold in a directory of its own and print the table of a metric.

    A fold that is done is not trained again, so the same command goes on where it stopped.
    """
    from jaxlm.train.config import load, load_module, override
    from jaxlm.train.main import keep_compiled_programs, train
    from jaxlm.train.run_directory import RunDirectory, default_directory

    for path in (words.experiment, words.config):
        if not Path(path).is_file():
            raise BadInput(f"there is no file {path}")
    if words.folds < 2:
        raise BadInput(f"--folds {words.folds}: give at least 2")
    keep_compiled_programs()
    base = load(words.config)
    if not hasattr(base.data, "folds"):
        raise BadInput(f"the data of {words.config} cannot be cut in folds: cross-validation is for images")
    build = load_module(words.experiment).build
    whole = override(base, [*rest, "--data.folds", str(words.folds)], "jaxlm crossval")
    home = Path(words.directory or f"{default_directory(Path(words.config), whole)}-crossval")
    metric = words.metric or whole.run.metric
    values = []
    for fold in range(words.folds):
        directory = home / f"fold-{fold}"
        print(f"fold {fold} of {words.folds}: {directory}", flush=True)
        train(build, override(whole, ["--data.fold", str(fold)]), directory)
        values.append(result(RunDirectory(directory), metric, whole.run))
    shown = table(metric, values)
    write(home, {"metric": metric, "folds": words.folds, "values": values, **summary(values)}, shown)
    print(shown)
    return 0


def result(home: Any, metric: str, run: Any) -> float:
    """The metric at the end of a run; with `run.patience` at the evaluation that was best by `run.metric`."""
    records = list(home.metrics())
    scored = [record for record in records if record.get(run.metric) is not None]
    if run.patience is not None and scored:
        best = (max if run.maximize else min)(scored, key=lambda record: record[run.metric])
        records = [record for record in records if record["step"] <= best["step"]]
    values = [record[metric] for record in records if record.get(metric) is not None]
    if not values:
        raise BadInput(f"{home.path} has no metric {metric}: choose one that its metrics.jsonl holds, as eval/accuracy")
    return values[-1]


def summary(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation (n - 1) and the half-width of the 95 % t-interval of the mean."""
    from scipy.stats import t

    count, mean = len(values), math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return {"mean": mean, "std": deviation, "half_width": float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)}


def table(metric: str, values: list[float]) -> str:
    """The values of the folds, and their mean with its interval."""
    found = summary(values)
    lines = [f"fold  {metric}", *(f"{fold:>4}  {value:.4f}" for fold, value in enumerate(values))]
    interval = f"95 % t-interval {found['mean'] - found['half_width']:.4f} to {found['mean'] + found['half_width']:.4f}"
    lines.append(f"mean  {found['mean']:.4f}  standard deviation {found['std']:.4f}, {interval}")
    lines.append("The folds share training images, so for other data the interval is too narrow (Dietterich 1998).")
    return "\n".join(lines)


def write(home: Path, record: dict[str, Any], shown: str) -> None:
    """Keep the table beside the folds, whole or not at all."""
    for name, text in (("crossval.json", json.dumps(record, indent=1) + "\n"), ("crossval.txt", shown + "\n")):
        part = home / f"{name}.part"
        part.write_text(text)
        os.replace(part, home / name)
