"""`jaxlm lr-find`: a learning rate to begin with."""

import argparse
import csv
import io
from pathlib import Path

from tabulate import tabulate

from jaxlm.runs.files import write_atomic
from jaxlm.runs.shipped import find_both

ROWS = 20  # of the printed table; the CSV has every update


def lr_find(args: argparse.Namespace, overrides: list[str]) -> int:
    """Run a range test, print its table and the rates that it suggests, and write every update to a CSV file."""
    experiment, config_file = find_both(args.names)

    from jaxlm.runs.load import load_module
    from jaxlm.train.config import load_config, override
    from jaxlm.train.main import keep_compiled_programs
    from jaxlm.train.range_test import range_test, suggest_rate

    keep_compiled_programs()
    config = override(load_config(config_file), overrides, f"jaxlm lr-find {' '.join(args.names)}")
    points = range_test(load_module(experiment).build, config, args.updates, args.low, args.high)
    shown = points[:: max(len(points) // ROWS, 1)]
    print(tabulate(shown, ("learning rate", "loss", "smoothed"), tablefmt="plain", floatfmt=(".2e", ".4f", ".4f")))
    if len(points) < args.updates:
        print(f"stopped at {points[-1].rate:.2e}: the loss diverged")
    path = Path(args.csv or Path("runs") / f"lr-find-{config_file.stem}.csv")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("learning_rate", "loss", "smoothed"), *points])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())
    print(f"curve: {path}")
    below, steepest = suggest_rate(points)
    print(f"the loss falls fastest at {steepest:.2e}; a tenth of the rate with the lowest loss is {below:.2e}")
    print(f"begin with --optim.peak-lr {below:.2g}")
    return 0
