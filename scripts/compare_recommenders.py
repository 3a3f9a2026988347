"""Compare recommenders on CiteULike-a: popularity, item-kNN, EASE, iALS and BPR of `implicit`, and those of jaxlm.

    python scripts/compare_recommenders.py USERS.DAT --out FOLDER [--split leave-one-out] [--seeds 5] [--only mf ials]

Needs the extra `recommend`. Every method has the same search: three settings are fitted on the training part without
the validation, and the best nDCG@20 (of --split leave-one-out: sampled99/ndcg@10) on the validation is fitted again on
the whole training part and measured on the test. All vectors have 128 numbers. What has a seed is fitted once for each.
The fraction split holds a fifth of each user's items out and ranks all items; leave-one-out holds one out and ranks it
among 99 drawn ones (named sampled99) and among all.

Every fit is kept in FOLDER, so that the same command goes on where it stopped. The table has means over users (and
seeds), the seconds of a fit, and what a method has above the best of all, in pairs, with a 95 % bootstrap interval over
users.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate
from threadpoolctl import threadpool_limits

from jaxlm.data.interactions import CiteULike, Fraction, Interactions, LeaveOneOut
from jaxlm.metrics.bootstrap import bootstrap_interval
from jaxlm.metrics.item_ranking import rank_counts, ranking_values

WIDTH = 128
Scorer = Callable[[np.ndarray], np.ndarray]  # users [B] -> scores of all items [B, I]
Fit = Callable[[Interactions, Any, dict[str, Any], int], Scorer]  # data, matrix of users and items, setting, seed


def popularity(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
    """Score an item by how many users have met it."""
    counts = np.asarray(matrix.sum(0)).ravel()
    return lambda users: np.tile(counts, (len(users), 1))


def item_knn(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
    """Score an item by its similarity to what the user has met."""
    from implicit.nearest_neighbours import CosineRecommender, TFIDFRecommender

    kind = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender}[setting["kind"]]
    model = kind(K=setting["neighbours"])
    with threadpool_limits(1, "blas"):  # implicit has threads of its own
        model.fit(matrix, show_progress=False)
    return lambda users: (matrix[users] @ model.similarity).toarray()


def ease(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
    """Fit EASE (Steck 2019, arXiv:1905.03375, equation 8) by users, of whom there are fewer than items.

    With P the inverse of X'X + l I, X P is (X X' + l I)^-1 X, and an unmet item's score is -(X P) / diag(P).
    """
    users = matrix.shape[0]
    gram = (matrix @ matrix.T).toarray().astype(np.float64) + setting["l2"] * np.eye(users)
    product = np.asarray((matrix.T @ np.linalg.inv(gram)).T, np.float32)  # X P
    rows, columns = matrix.nonzero()
    inside = np.bincount(columns, product[rows, columns], minlength=matrix.shape[1])
    diagonal = ((1 - inside) / setting["l2"]).astype(np.float32)
    return lambda chosen: -product[chosen] / diagonal


def ials(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
    """Fit implicit's alternating least squares (Hu et al. 2008)."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=WIDTH, iterations=15, random_state=seed, **setting)
    with threadpool_limits(1, "blas"):  # implicit has threads of its own
        model.fit(matrix, show_progress=False)
    return lambda users: model.user_factors[users] @ model.item_factors.T


def bpr(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
    """Fit implicit's matrix factorisation with BPR (Rendle et al. 2009)."""
    from implicit.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(factors=WIDTH - 1, random_state=seed, **setting)  # it adds a bias to them
    with threadpool_limits(1, "blas"):  # implicit has threads of its own
        model.fit(matrix, show_progress=False)
    return lambda users: model.user_factors[users] @ model.item_factors.T


def ours(config_name: str) -> Fit:
    """Return the fit of a config of jaxlm; a setting is words of a command line."""

    def fit(data: Interactions, matrix: Any, setting: dict[str, Any], seed: int) -> Scorer:
        import jax

        from jaxlm.runs.load import load_module
        from jaxlm.runs.shipped import find_file
        from jaxlm.train.config import load_config, override
        from jaxlm.train.recorder import compose

        words = [*setting["words"], "--run.seed", str(seed)]
        config = override(load_config(find_file("config", config_name)), words)
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, source=data.source, split=data.split, part=data.part, sampled=0),
        )
        experiment, place = compose(load_module(find_file("experiment", "recommendation")).build, config)
        state, step = place.init(experiment.init, jax.random.key(seed)), place.compile(experiment.step)
        for update in range(config.run.steps):
            state, _ = step(state, place.put(experiment.train_data[update]))
        met, width = data.loaded().met, int(data.loaded().met.counts.max())
        histories = "seen" in config.model.inputs
        apply = jax.jit(lambda users, **seen: config.model.apply({"params": state.params}, users, **seen))

        def score(users: np.ndarray) -> np.ndarray:
            return np.concatenate(
                [
                    np.asarray(apply(part, **({"seen": met.padded(part, width)} if histories else {})))
                    for part in np.split(users, range(64, len(users), 64))
                ]
            )

        return score

    return fit


@dataclasses.dataclass(frozen=True)
class Method:
    """A recommender: how it is fitted, three settings to choose from, and whether it has a seed."""

    fit: Fit
    settings: tuple[dict[str, Any], ...]
    seeded: bool = True


def words(*settings: str) -> tuple[dict[str, Any], ...]:
    """Return settings of words of a command line."""
    return tuple({"words": setting.split()} for setting in settings)


RATES = words(*(f"--optim.peak-lr {rate}" for rate in ("1e-3", "2e-3", "5e-3")))
METHODS: dict[str, Method] = {
    "popularity": Method(popularity, ({},), seeded=False),
    "item-knn": Method(
        item_knn,
        (
            {"kind": "cosine", "neighbours": 100},
            {"kind": "tfidf", "neighbours": 100},
            {"kind": "tfidf", "neighbours": 500},
        ),
        seeded=False,
    ),
    "ease": Method(ease, ({"l2": 30.0}, {"l2": 100.0}, {"l2": 300.0}), seeded=False),
    "ials": Method(
        ials,
        (
            {"alpha": 40.0, "regularization": 1.0},
            {"alpha": 100.0, "regularization": 10.0},
            {"alpha": 200.0, "regularization": 30.0},
        ),
    ),
    "bpr": Method(
        bpr,
        (
            {"learning_rate": 0.05, "regularization": 0.01, "iterations": 200},
            {"learning_rate": 0.05, "regularization": 0.003, "iterations": 200},
            {"learning_rate": 0.1, "regularization": 0.01, "iterations": 200},
        ),
    ),
    "mf": Method(ours("mf_citeulike"), words(*(f"--model.dropout {rate}" for rate in ("0.3", "0.5", "0.7")))),
    "mf, bpr": Method(
        ours("mf_citeulike"),
        words(
            *(
                f"--data.rows pairs --data.negatives 1 --data.batch 4096 --loss.objective bpr --run.steps 1000 "
                f"--model.dropout 0.0 --optim.peak-lr {rate}"
                for rate in ("2e-3", "5e-3", "1e-2")
            )
        ),
    ),
    "two towers": Method(
        ours("two_tower_citeulike"), words(*(f"--model.dropout {rate}" for rate in ("0.3", "0.5", "0.7")))
    ),
    "gmf": Method(
        ours("neumf_citeulike"),
        tuple({"words": [*one["words"], "--model.factors", "128", "--model.hidden"]} for one in RATES),
    ),
    "mlp": Method(
        ours("neumf_citeulike"),
        tuple({"words": [*one["words"], "--model.factors", "0", "--model.width", "128"]} for one in RATES),
    ),
    "neumf": Method(ours("neumf_citeulike"), RATES),
}


def measure(data: Interactions, score: Scorer) -> dict[str, np.ndarray]:
    """Return the metrics of each user in both rankings; of the sampled one, means over the held-out items of a user."""
    import jax

    count = jax.jit(rank_counts)
    found: dict[str, list[np.ndarray]] = {}
    held_out = data.eval_sampled().source.take(np.arange(len(data.eval_sampled().source)), None)
    for batch in (data.eval()[index] for index in range(len(data.eval()))):
        real = batch["mask"] > 0
        scores = np.asarray(score(batch["user"]), np.float32)
        counts = {name: np.asarray(x)[real] for name, x in count(scores, batch["targets"], batch["seen"]).items()}
        values = ranking_values(counts["above"], counts["equal"], batch["targets"][real] >= 0, (20,))
        places = {user: place for place, user in enumerate(batch["user"][real].tolist())}
        rows = np.flatnonzero(np.isin(held_out["user"], batch["user"][real]))
        owners = np.array([places[user] for user in held_out["user"][rows].tolist()])
        few = np.take_along_axis(scores[real][owners], held_out["items"][rows], 1)
        sampled = {
            name: np.asarray(x) for name, x in count(few, np.zeros((len(few), 1), int), few[:, :0].astype(int)).items()
        }
        for name, x in ranking_values(sampled["above"], sampled["equal"], np.ones((len(few), 1), bool), (10,)).items():
            values[f"sampled{data.sampled}/{name}"] = np.bincount(owners, x) / np.bincount(owners)
        for name, x in values.items():
            found.setdefault(name, []).append(x)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def fitted(data: Interactions, name: str, setting: dict[str, Any], seed: int, out: Path) -> dict[str, np.ndarray]:
    """Fit a method and measure it, or return what is kept of it; with "seconds", those of the fit."""
    import scipy.sparse as sparse

    key = json.dumps([data.part, type(data.split).__name__, name, setting, seed])
    path = out / f"{''.join(c if c.isalnum() else '-' for c in key)[-150:]}.npz"
    if not path.is_file():
        found = data.loaded()
        pairs = found.met.users, found.met.items
        shape = len(found.user_names), len(found.item_names)
        matrix = sparse.csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape)
        began = time.perf_counter()
        score = METHODS[name].fit(data, matrix, setting, seed)
        seconds = time.perf_counter() - began
        values = measure(data, score)
        kept: dict[str, Any] = {name.replace("/", "|"): x for name, x in values.items()}
        np.savez(path, seconds=seconds, **kept)
        shown = {name: round(float(x.mean()), 4) for name, x in values.items()}
        print(f"{data.part} {name} {setting} seed {seed}: {seconds:.0f} s {shown}", flush=True)
    with np.load(path) as found:
        return {name.replace("|", "/"): found[name] for name in found.files}


def compare(source: CiteULike, options: argparse.Namespace) -> None:
    """Search, fit and print the table."""
    whole = options.split == "fraction"
    split: Fraction | LeaveOneOut = Fraction(0.2) if whole else LeaveOneOut()
    chosen_by = "ndcg@20" if whole else "sampled99/ndcg@10"
    shown = ("recall@20", "ndcg@20") if whole else ("sampled99/hr@10", "sampled99/ndcg@10", "hr@20", "ndcg@20")
    test = Interactions(source=source, split=split, eval_batch=256)
    parts = {"validation": dataclasses.replace(test, part="validation"), "test": test}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in options.only or METHODS:
        method = METHODS[name]
        scores = [
            fitted(parts["validation"], name, setting, 0, options.out)[chosen_by].mean() if method.settings[1:] else 0
            for setting in method.settings
        ]
        setting = method.settings[int(np.argmax(scores))]
        runs = [
            fitted(parts["test"], name, setting, seed, options.out)
            for seed in range(options.seeds if method.seeded else 1)
        ]
        found[name] = {key: np.mean([run[key] for run in runs], 0) for key in runs[0]}
        found[name]["seeds"] = np.array(len(runs))
        print(f"{name}: {setting}", flush=True)
    print(table(found, shown))


def table(found: dict[str, dict[str, np.ndarray]], shown: tuple[str, ...]) -> str:
    """Return the table, the best by the first metric first."""
    order = sorted(found, key=lambda name: -found[name][shown[0]].mean())
    best, rows = found[order[0]], []
    for name in order:
        gap = found[name][shown[0]] - best[shown[0]]
        low, high = bootstrap_interval(gap)
        apart = "the winner" if name == order[0] else f"{gap.mean():+.4f} ({low:+.4f} to {high:+.4f})"
        numbers = [f"{found[name][metric].mean():.4f}" for metric in shown]
        rows.append([name, *numbers, apart, int(found[name]["seeds"]), f"{found[name]['seconds']:.0f}"])
    heads = ["", *shown, f"{shown[0]} above the best", "seeds", "s a fit"]
    return tabulate(rows, heads, "github", disable_numparse=True)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="users.dat of CiteULike-a")
    parser.add_argument("--out", type=Path, required=True, help="the folder that keeps every fit")
    parser.add_argument("--split", choices=("fraction", "leave-one-out"), default="fraction")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=None)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    compare(CiteULike(path=options.file), options)


if __name__ == "__main__":
    main()
