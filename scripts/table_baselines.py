"""Print what scikit-learn's gradient boosting scores on the table of a config: on its folds, or its evaluation file.

    python scripts/table_baselines.py configs/mlp_housing.py --train-file california_housing.csv
    python scripts/table_baselines.py configs/mlp_adult.py --train-file adult.data --eval-file adult.test --seeds 5

Rows, folds and columns are those of the config. Targets are not scaled, and what is missing stays missing.
Without `--as-config`, the trees read every column of numbers as numbers, and nothing of the nearest training rows.
"""

import argparse
import dataclasses
import sys
import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_error

from jaxlm.data.tables import Table
from jaxlm.data.tables.columns import CategoryColumn, NumberColumn
from jaxlm.errors import BadInput
from jaxlm.train.config import load_config

TREES = {"max_iter": 1000, "learning_rate": 0.05, "early_stopping": True, "validation_fraction": 0.1}
TREES |= {"n_iter_no_change": 20}


def features(data: Table) -> tuple[np.ndarray, np.ndarray, list[bool]]:
    """Return the columns of training and evaluation, NaN where a cell is missing, and which are categories."""
    loaded = data.loaded()
    parts = []
    for own, part in ((True, loaded.train), (False, loaded.eval)):
        columns = []
        for column in loaded.schema.columns:
            values = column.encode(part.cells[column.name], part.places).values
            if isinstance(column, NumberColumn):
                values = np.where(values[:, 1] > 0, np.nan, values[:, 0]) if column.missing else values[:, 0]
            columns.append(values.reshape(len(values), -1))
        columns += [near.encode(part.cells, part.places, own) for near in loaded.schema.neighbours]
        parts.append(np.concatenate(columns, 1).astype(np.float64))
    kinds = [
        isinstance(column, CategoryColumn)
        for column in loaded.schema.columns
        for _ in range(1 if isinstance(column, CategoryColumn | NumberColumn) else len(column.entries()))
    ]
    return parts[0], parts[1], kinds + [False] * (parts[0].shape[1] - len(kinds))


def score(data: Table, seed: int) -> dict[str, float]:
    """Train on the training rows of a spec and return the scores of its evaluation rows."""
    train, held_out, categories = features(data)
    labels = [part.arrays for part in (data.loaded().train, data.loaded().eval)]
    options = TREES | {"categorical_features": categories, "random_state": seed}
    if "label" in labels[0]:
        model = HistGradientBoostingClassifier(**options).fit(train, labels[0]["label"])
        found = model.predict_proba(held_out)
        true = labels[1]["label"]
        auc = roc_auc_score(true, found[:, 1] if found.shape[1] == 2 else found, multi_class="ovr")
        return {"auc": auc, "log_loss": log_loss(true, found)}
    regressor = HistGradientBoostingRegressor(**options).fit(train, labels[0]["value"])
    found = regressor.predict(held_out)
    true = labels[1]["value"]
    return {
        "r2": r2_score(true, found),
        "rmse": root_mean_squared_error(true, found),
        "mae": mean_absolute_error(true, found),
    }


def main(words: list[str]) -> int:
    """Print a line for each fold and seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--train-file")
    parser.add_argument("--eval-file")
    parser.add_argument("--as-config", action="store_true", help="neighbours and numbers as categories too")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args(words)
    files = {name: value for name in ("train_file", "eval_file") if (value := getattr(args, name)) is not None}
    data = dataclasses.replace(load_config(args.config).data, **files)
    if not args.as_config:
        plain = {"neighbours": ()} if hasattr(data, "neighbours") else {}
        data = dataclasses.replace(data, categories=(), **plain)
    rows = []
    for fold in range(data.folds or 1):
        for seed in range(args.seeds):
            begin = time.perf_counter()
            found = score(dataclasses.replace(data, fold=fold), seed)
            rows.append(list(found.values()))
            scores = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
            print(f"fold {fold} seed {seed}: {scores}  {time.perf_counter() - begin:.1f} s", flush=True)
    for name, column in zip(found, np.array(rows).T, strict=True):
        print(f"{name} mean {column.mean():.4f}, from {column.min():.4f} to {column.max():.4f}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BadInput as error:
        sys.exit(f"error: {error}")
