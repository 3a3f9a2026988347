"""The points of a search are a function of its definition, whatever cells are there; what failed stays visible."""

import math

import pytest
from ablations import EXPERIMENT
from test_tune import config, optuna  # noqa: F401

from jaxlm.ablate import tune
from jaxlm.ablate.record import write_record
from jaxlm.ablate.space import Choice, Range
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train.config import load_config

SPACE = {"optim.peak_lr": Range(1e-4, 1.0, log=True), "run.ema": Choice(("0", "0.5"))}


@pytest.fixture
def find(optuna, config, monkeypatch):  # noqa: F811
    """Search with runs that are a formula: (trials, the points that were run)."""
    build, base, ran = load_module(EXPERIMENT).build, load_config(config), []

    def run_cell(build, cell, folder, stop=None):
        ran.append(cell.identity)
        home, pruned = RunDirectory(folder), None
        folder.mkdir(parents=True, exist_ok=True)
        home.truncate_metrics(0)
        peak, ema = cell.config.optim.peak_lr, cell.config.run.ema
        for step in (2, 4, 6):
            value = (math.log10(peak) + 2) ** 2 + ema + 1 / step if peak < 0.5 else math.nan
            home.append_metrics(step, {"eval/loss": value})
            if pruned := stop and stop(list(home.metrics())):
                break
        return write_record(folder, cell, None, pruned)

    def find(directory, trials=18, **asked):
        ran.clear()
        return tune.search(build, base, SPACE, trials, directory, **asked), list(ran)

    monkeypatch.setattr(tune, "run_cell", run_cell)
    return find


@pytest.mark.parametrize("prune", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_search_in_parts_is_the_search_in_one(find, prune, tmp_path):
    whole, ran = find(tmp_path / "whole", prune=prune)
    assert len(ran) == 18
    for trials in (3, 12, 18):
        part, ran = find(tmp_path / "parts", trials, prune=prune)
        assert part["trials"] == whole["trials"][:trials]
        assert len(ran) < trials or trials == 3
    assert find(tmp_path / "whole", prune=prune) == (whole, [])
    assert find(tmp_path / "other", 3, seed=1)[0]["trials"] != whole["trials"][:3]


def test_cells_of_a_search_with_or_without_pruning_change_nothing_in_the_other(find, tmp_path):
    pruned, whole = find(tmp_path / "a", prune=True)[0], find(tmp_path / "b")[0]
    states = [row["state"] for row in pruned["trials"]]
    assert states.count("pruned") > 1
    assert [row["state"] for row in whole["trials"]].count("pruned") == 0
    found, ran = find(tmp_path / "a")
    assert found == whole
    assert set(ran) >= {row["identity"] for row in pruned["trials"][:10] if row["state"] == "pruned"}
    assert find(tmp_path / "b", prune=True)[0] == pruned


def test_the_sampler_comes_near_the_best_point_and_what_failed_stays_last(find, tmp_path):
    found, _ = find(tmp_path, 30)
    best = found["trials"][found["best"]]
    assert abs(math.log10(float(best["point"]["optim.peak_lr"])) + 2) < 0.3
    assert best["point"]["run.ema"] == "0"
    failed = [row["trial"] for row in found["trials"] if row["state"] == "failed"]
    assert failed
    assert found["ranking"][-len(failed) :] == failed
    assert all(found["trials"][n]["why"] == "eval/loss is not finite" for n in failed)
