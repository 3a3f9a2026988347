"""`jaxlm ablate` as a whole: cells, resumes, failures, and tables of equal bytes."""

import csv
import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from ablations import DIVERGED, EXPERIMENT, FILES, SEEDS, Killed, command, jaxlm, no_training, records

from jaxlm.ablate import Arm, ablate, run
from jaxlm.ablate.arms import combine, varied
from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train.config import load_config
from whole_path import ROOT


def test_the_table_holds_what_the_runs_recorded(made):
    directory, out = made
    table = json.loads((directory / "table.json").read_text())
    assert [arm["name"] for arm in table["arms"]] == ["base", "slow", "too fast"]
    assert (table["metric"], table["better"], table["seeds"]) == ("eval/accuracy", "larger", list(SEEDS))
    for arm in table["arms"][:2]:
        values = []
        for seed, identity in zip(SEEDS, arm["identities"], strict=True):
            home = RunDirectory(directory / "cells" / f"{arm['name']}-seed{seed}-{identity[:10]}")
            values.append([record["eval/accuracy"] for record in home.metrics() if "eval/accuracy" in record][-1])
        assert arm["values"] == values
        np.testing.assert_allclose((arm["mean"], arm["std"]), (np.mean(values), np.std(values, ddof=1)), rtol=1e-9)
    base, slow, _ = table["arms"]
    found = slow["against_base"]
    differences = np.subtract(slow["values"], base["values"])
    assert (differences < 0).all()
    np.testing.assert_allclose(found["difference"], differences.mean(), rtol=1e-9)
    assert (found["pairs"], found["p"], found["holm_p"]) == (3, 0.25, 0.25)
    assert (found["improvement"], found["significant"]) == (0, None)
    assert "against_base" not in base
    assert out.startswith("cell 1 of 9: base, seed 5 (0 done, 0 failed, 9 left)\n")
    assert "cell 9 of 9: too fast, seed 7 (6 done, 2 failed, 1 left)\n" in out
    assert out.count("\ncell ") == 8
    assert (directory / "table.txt").read_text() in out


def test_a_failing_arm_stays_visible_and_stops_no_other(made):
    directory, out = made
    assert out.count(f"  too fast, seed 6, failed: {DIVERGED}") == 1
    table = json.loads((directory / "table.json").read_text())
    fast = table["arms"][2]
    assert (fast["n"], fast["values"], fast["mean"]) == (0, [None] * 3, None)
    assert [cell["seed"] for cell in fast["failed"]] == list(SEEDS)
    assert all(DIVERGED in cell["why"] for cell in fast["failed"])
    assert (fast["against_base"]["pairs"], fast["against_base"]["p"]) == (0, None)
    shown = (directory / "table.txt").read_text()
    assert [line.split() for line in shown.splitlines() if line.startswith("too fast")][1][2:] == ["failed"] * 3
    assert "Failed cells: 3 of 9" in shown
    assert f"too fast, seed 6, failed: {DIVERGED}" in shown


def test_every_form_holds_the_table_and_nothing_of_this_machine(made):
    directory, _ = made
    table = json.loads((directory / "table.json").read_text())
    rows = list(csv.DictReader((directory / "table.csv").read_text().splitlines()))
    for row, arm in zip(rows, table["arms"], strict=True):
        assert row["arm"] == arm["name"]
        assert [float(row[f"seed_{s}"]) if row[f"seed_{s}"] else None for s in SEEDS] == arm["values"]
        assert row["mean"] == ("" if arm["mean"] is None else str(arm["mean"]))
    assert rows[1]["words"] == "--optim.peak-lr 1e-3"
    markdown = (directory / "table.md").read_text().splitlines()
    assert len({line.count(" | ") for line in markdown if line.startswith("| ") and "95 %" in line}) == 1
    latex = (directory / "table.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert r"95 \% interval" in latex
    for name in FILES:
        text = (directory / name).read_text()
        assert str(directory) not in text
        assert str(ROOT) not in text
    for said in ("Seeds 5 to 7", "paired", "Not claimed: 2 of 2", "No bootstrap interval"):
        assert all(said in (directory / name).read_text() for name in FILES if name != "table.csv")


def test_arms_are_paired_by_seed(made):
    directory, _ = made
    found = records(directory)
    first = {key: record["curves"]["train/loss"][0] for key, record in found.items() if record["failed"] is None}
    assert all(first["base", seed] == first["slow", seed] for seed in SEEDS)  # same data, same initialisation
    assert len({first["base", seed][1] for seed in SEEDS}) == 3
    homes = [RunDirectory(next(directory.glob(f"cells/{arm}-seed6-*/"))) for arm in ("base", "slow", "too-fast")]
    batches = [home.config().data.train(home.config().run.seed)[0]["image"] for home in homes]
    assert all((batch == batches[0]).all() for batch in batches)


def test_a_record_holds_the_metrics_over_time_and_what_they_depend_on(made):
    directory, _ = made
    record = records(directory)["slow", 7]
    assert [step for step, _ in record["curves"]["eval/accuracy"]] == [6, 12]
    assert record["final"]["eval/accuracy"] == record["curves"]["eval/accuracy"][-1][1]
    assert not any(name.startswith("time/") for name in record["curves"])
    assert record["parts"]["config"]["optim.peak_lr"] == 1e-3
    assert (record["parts"]["config"]["run.seed"], record["parts"]["packing"]) == (7, "exact")


def test_another_metric_or_fewer_seeds_use_the_cells_that_are_there(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    no_training(monkeypatch)
    code, out, _ = jaxlm(*command(config, tmp_path / "copy", "--metric", "eval/loss", "--seeds", "2"))
    table = json.loads((tmp_path / "copy" / "table.json").read_text())
    assert code == 0
    assert (table["better"], table["seeds"]) == ("smaller", [5, 6])
    assert table["arms"][1]["values"] == [records(made[0])["slow", seed]["final"]["eval/loss"] for seed in (5, 6)]
    assert "eval/loss (smaller is better)" in out
    words = ("--metric", "eval/loss", "--better", "larger")
    assert "eval/loss (larger is better)" in jaxlm(*command(config, tmp_path / "copy", *words))[1]
    code, _, err = jaxlm(*command(config, tmp_path / "copy", "--metric", "eval/beauty"))
    assert code == 2
    known = ", ".join(sorted(records(made[0])["base", 5]["final"]))
    assert err == f"error: no run reports a metric eval/beauty: choose one of {known}\n"


def test_the_default_directory_is_named_by_config_and_arms(config, made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def record(build, base, arms, seeds, directory, **_):
        raise OSError(13, str(directory))

    monkeypatch.setattr(run, "ablate", record)
    words = ("ablate", str(EXPERIMENT), str(config), "--seeds")
    names = [
        jaxlm(*words, *more)[2].split()[1]
        for more in (("3",), ("4",), ("3", "--vary", "run.ema=0.5"), ("3", "--optim.peak-lr", "1"))
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert all(name.startswith("runs/ablations/mlp-") and len(name.rpartition("-")[2]) == 10 for name in names)


def test_an_arm_that_cannot_be_built_is_a_failed_cell(config, tmp_path):
    base = load_config(config)
    arms = [Arm("long warm-up", ("--optim.warmup", "99"))]
    table = ablate(load_module(EXPERIMENT).build, base, arms, 1, tmp_path / "made")
    (failed,) = table["arms"][1]["failed"]
    assert failed["why"].startswith("optim: warmup of 99 and cooldown of 0 updates do not fit into 12 steps")
    assert table["arms"][0]["n"] == 1
    assert json.loads((tmp_path / "made" / "table.json").read_text()) == table


def test_an_arm_that_breaks_is_a_failed_cell_whatever_the_words_of_its_error(config, monkeypatch, tmp_path):
    """Not BadInput, in the composition and in training, with the words in which a full disk is reported."""
    build = load_module(EXPERIMENT).build

    def breaks(config, place):
        if config.run.ema == 0.25:
            raise TypeError("no such composition\nand more")
        experiment = build(config, place)
        if config.run.ema == 0.5:
            return replace(experiment, step=lambda state, batch: 1 / 0)
        if config.run.ema == 0.75:
            raise BadInput("the disk is full: fix that and run the same command again")
        return experiment

    breaks.__code__ = breaks.__code__.replace(co_filename=str(EXPERIMENT))
    arms = [Arm(f"ema {decay}", ("--run.ema", str(decay))) for decay in (0.25, 0.5, 0.75)]
    table = ablate(breaks, load_config(config), arms, 1, tmp_path / "made")
    assert table["arms"][0]["n"] == 1
    why = [arm["failed"][0]["why"] for arm in table["arms"][1:]]
    assert why == [
        "TypeError: no such composition",
        "ZeroDivisionError: division by zero",
        "the disk is full: fix that and run the same command again",
    ]
    (log,) = (tmp_path / "made").glob("cells/ema-0.5-*.log")
    assert "Traceback (most recent call last)" in log.read_text()


def test_a_grid_of_two_hundred_points_begins_at_once(config, monkeypatch, tmp_path):
    groups = []

    def begins(build, found, directory, progress):
        groups.extend(found)
        raise Killed
        yield

    base, build = load_config(config), load_module(EXPERIMENT).build
    rates, decays = ",".join(str(n / 7) for n in range(1, 21)), ",".join(str(n / 11) for n in range(1, 11))
    ablate(build, base, [Arm("slow", ("--optim.peak-lr", "1e-3"))], 1, tmp_path / "first")  # reads data and sources
    began = time.process_time()
    arms = combine(base, "grid", [], varied(base, [f"optim.peak_lr={rates}", f"run.ema={decays}"]))
    with pytest.raises(Killed):
        ablate(build, base, arms, 1, tmp_path / "grid", executor=begins)
    assert time.process_time() - began < 5
    assert len(groups) == 201


def test_chosen_arms_share_the_cells_of_the_whole_ablation(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    no_training(monkeypatch)
    assert jaxlm(*command(config, tmp_path / "copy", "--only", "slow"))[0] == 0
    table = json.loads((tmp_path / "copy" / "table.json").read_text())
    assert [arm["name"] for arm in table["arms"]] == ["base", "slow"]


@pytest.mark.slow
def test_a_run_with_patience_counts_by_its_best_evaluation(config, tmp_path):
    words = "--run.eval-every 2 --run.save-every 2 --run.patience 2 --run.metric eval/loss --run.maximize".split()
    only = ("--seeds", "1", "--leave-one-out", "--vary", "run.ema=0.5", "--vary", "model.hidden=8")
    text = config.read_text().replace("ablations", "nothing")
    (tmp_path / "config.py").write_text(text)
    code, _, err = jaxlm(*command(tmp_path / "config.py", tmp_path / "made", *only, *words))
    assert (code, err) == (0, "")
    record = records(tmp_path / "made")["base", 5]
    points = record["curves"]["eval/loss"]
    assert record["final"]["eval/loss"] == max(value for _, value in points) != points[-1][1]
    assert points[-1][0] < 12
    arms = {"base", "all", "all but run.ema=0.5", "all but model.hidden=8"}
    assert {arm for arm, _ in records(tmp_path / "made")} == arms
