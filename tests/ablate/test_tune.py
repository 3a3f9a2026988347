"""`jaxlm tune`: the space, a search that a kill does not change, pruning, and failures in the table."""

import csv
import json
import os
import shlex
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from ablations import DIVERGED, EXPERIMENT, Killed, dies, jaxlm, no_training

from jaxlm.ablate.execute import runner
from jaxlm.ablate.space import Choice, Range, declared_space, read_space, words_at
from jaxlm.errors import BadInput
from jaxlm.optim import SGD
from jaxlm.runs.directory import RunDirectory
from jaxlm.train.config import load_config, override

CONFIG = """
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=MLP(classes=10, hidden=(8,)),
    data=Digits(batch=8, eval_batch=360),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-2),
    run=Run(steps=6, seed=5, log_every=2, eval_every=2, save_every=4, skip_limit=1),
)
space = {"optim.peak_lr": "1e-4..1:log", "run.ema": "0,0.5"}
"""
FILES = ("trials.json", "trials.csv", "trials.txt")


@pytest.fixture(scope="module")
def optuna():
    return pytest.importorskip("optuna", reason="Optuna is not installed: pip install optuna")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "mlp.py"
    path.write_text(CONFIG)
    return path


def command(config, directory, *words):
    return ["tune", *map(str, (EXPERIMENT, config, "--directory", directory, *words))]


PRUNED = ("--trials", "7", "--prune")


@pytest.fixture(scope="module")
def made(optuna, config, tmp_path_factory):
    """An undisturbed search with pruning, its directory and what it printed."""
    directory = tmp_path_factory.mktemp("tune") / "made"
    code, out, err = jaxlm(*command(config, directory, *PRUNED))
    assert (code, err) == (0, "")
    return directory, out


def table(directory):
    return json.loads((directory / "trials.json").read_text())


def tables(directory):
    return {name: (directory / name).read_bytes() for name in FILES}


def records(directory):
    found = [json.loads(path.read_text()) for path in directory.glob("cells/*/cell.json")]
    return {record["identity"]: record for record in found}


def test_a_spec_is_a_range_or_a_choice_of_the_field_s_own_type(config):
    base = load_config(config)
    specs = ["optim.peak_lr=1e-4..1:log", "optim.peak_lr=1..2", "optim.warmup=0..4", "model.hidden=8,16 32"]
    space = read_space(base, [*specs, "--model.classes=10..20:log", "optim.clip_norm=-1..2"])
    assert list(space.values())[:2] == [Range(1.0, 2.0), Range(0, 4)]
    assert isinstance(space["optim.peak_lr"].low, float)
    assert isinstance(space["optim.warmup"].low, int)
    assert space["model.hidden"] == Choice(("8", "16 32"))
    assert space["model.classes"] == Range(10, 20, log=True)
    assert isinstance(space["optim.clip_norm"].low, float)
    point = {"model.hidden": "16 32", "optim.peak_lr": "0.1"}
    assert words_at(base, point) == ("--model.hidden", "16", "32", "--optim.peak-lr", "0.1")
    switched = replace(base, optim=SGD())
    assert read_space(switched, ["optim.nesterov=true,False"]) == {"optim.nesterov": Choice(("true", "False"))}
    assert words_at(switched, {"optim.nesterov": "False"}) == ("--optim.no-nesterov",)
    assert declared_space({"optim.peak_lr": "1..2"}, "c.py") == ["optim.peak_lr=1..2"]
    with pytest.raises(BadInput, match="`space` of c.py is no dict of texts"):
        declared_space({"optim.peak_lr": (1, 2)}, "c.py")


REFUSED = {
    "--trials 0": "--trials 0: give at least 1",
    "--trials 2 --seed -1": "--seed is -1: a seed is from 0 to 4294967295",
    "--trials 2 --prune --run.eval-every 0": "--prune needs evaluations within the 6 updates of a run",
    "--trials 2 --prune --run.eval-every 6": "--prune needs evaluations within the 6 updates of a run",
    "--trials 2 --run.steps 0": "run.steps is 0: it must be at least 1",
    "--trials 2 --optim.paek 1": "mlp.py: there is no field optim.paek: did you mean --optim.peak-lr?",
    "--trials 2 --space optim.paek=1..2": "there is no field optim.paek: did you mean --optim.peak-lr?",
    "--trials 2 --space optim.peak_lr": "write a field and its range or values",
    "--trials 2 --space optim.peak_lr=1..": "write a field and its range or values",
    "--trials 2 --space optim.peak_lr=1,,2": "write a field and its range or values",
    "--trials 2 --space optim.peak_lr=2..1": "from 2.0 to 1.0 there is no range",
    "--trials 2 --space optim.peak_lr=1..1": "from 1.0 to 1.0 there is no range",
    "--trials 2 --space optim.peak_lr=nan..1": "from nan to 1.0 there is no range",
    "--trials 2 --space optim.peak_lr=1..inf": "from 1.0 to inf there is no range",
    "--trials 2 --space optim.peak_lr=0..1:log": "0.0 has no logarithm",
    "--trials 2 --space optim.peak_lr=1..2:lin": "'lin' after the colon: write :log, or nothing",
    "--trials 2 --space optim.peak_lr=slow..fast": "could not convert string to float: 'slow'",
    "--trials 2 --space optim.warmup=0.5..2": "invalid literal for int",
    "--trials 2 --space model.hidden=8..16": "model.hidden takes no numbers: list its values",
    "--trials 2 --space optim.peak_lr=1,fast": "could not convert string to float: 'fast'",
    "--trials 2 --space optim.peak_lr=1": "give at least two values, all of them different",
    "--trials 2 --space optim.peak_lr=1,1.0": "give at least two values, all of them different",
    "--trials 2 --space run.data_seed=1,2": "run.data_seed makes no run better: leave it out",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_command_that_cannot_work_is_one_line_and_writes_nothing(words, optuna, config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = jaxlm("tune", str(EXPERIMENT), str(config), *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert REFUSED[words] in err
    assert list(tmp_path.iterdir()) == []


def test_without_a_space_or_without_optuna_there_is_no_search(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.py").write_text(CONFIG.replace("space =", "nothing ="))
    assert "there is no space to search" in jaxlm("tune", str(EXPERIMENT), "none.py", "--trials", "2")[2]
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = jaxlm("tune", str(EXPERIMENT), str(config), "--trials", "2")
    assert found == (2, "", "error: a search needs Optuna: pip install optuna\n")
    assert [path.name for path in tmp_path.iterdir()] == ["none.py"]


def test_the_table_holds_what_the_runs_recorded_from_the_best_on(made, config):
    directory, out = made
    found = table(directory)
    assert (found["metric"], found["better"], found["pruner"]) == ("eval/loss", "smaller", "median")
    known = records(directory)
    whole = [row for row in found["trials"] if row["state"] == "complete"]
    for row in whole:
        record = known[row["identity"]]
        assert row["value"] == record["final"]["eval/loss"] == record["curves"]["eval/loss"][-1][1]
        assert record["parts"]["config"]["optim.peak_lr"] == float(row["point"]["optim.peak_lr"])
        assert record["parts"]["config"]["run.seed"] == 5
    assert sorted(row["value"] for row in whole) == [
        found["trials"][n]["value"] for n in found["ranking"][: len(whole)]
    ]
    assert found["trials"][found["best"]]["value"] == min(row["value"] for row in whole)
    rows = list(csv.DictReader((directory / "trials.csv").read_text().splitlines()))
    assert [row["optim.peak_lr"] for row in rows] == [row["point"]["optim.peak_lr"] for row in found["trials"]]
    assert [float(row["eval/loss"]) if row["eval/loss"] else None for row in rows] == [
        r["value"] for r in found["trials"]
    ]
    assert (directory / "trials.txt").read_text() in out
    command = shlex.split(out.splitlines()[-1].removeprefix("best: "))
    assert command[:3] == ["python", str(EXPERIMENT), str(config)]
    best = RunDirectory(next(directory.glob(f"cells/*{found['trials'][found['best']]['identity'][:10]}")))
    assert override(load_config(config), command[3:]) == best.config()


def test_a_trial_worse_than_the_median_is_ended_and_says_so(made):
    directory, out = made
    found, known = table(directory), records(directory)
    assert [row["state"] for row in found["trials"][:5]] == ["complete"] * 5
    (pruned,) = {row["state"] for row in found["trials"][5:]}
    assert pruned == "pruned"
    for row in found["trials"][5:]:
        points = known[row["identity"]]["curves"]["eval/loss"]
        before = [known[other["identity"]]["curves"]["eval/loss"] for other in found["trials"][:5]]
        medians = [np.median([points[index][1] for points in before]) for index in range(len(points))]
        worse = [min(value for _, value in points[: index + 1]) > medians[index] for index in range(len(points))]
        assert worse == [False] * (len(points) - 1) + [True]
        step, value = points[-1]
        assert known[row["identity"]]["pruned"] == row["why"] == f"pruned at update {step}, eval/loss {value:.5g}"
        assert step < 6
        assert f"trial {row['trial']}: {row['why']}\n" in (directory / "trials.txt").read_text()
    assert f"7 trials (5 complete, 2 {pruned}, 0 failed)" in out


def test_the_same_command_again_trains_nothing_and_fewer_trials_are_the_first_ones(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    no_training(monkeypatch)
    code = jaxlm(*command(config, tmp_path / "copy", *PRUNED))[0]
    assert (code, tables(tmp_path / "copy")) == (0, tables(made[0]))
    assert jaxlm(*command(config, tmp_path / "copy", "--trials", "4", "--prune"))[0] == 0
    assert table(tmp_path / "copy")["trials"] == table(made[0])["trials"][:4]
    code, _, err = jaxlm(*command(config, tmp_path / "copy", *PRUNED, "--metric", "eval/beauty"))
    known = ", ".join(sorted(next(iter(records(made[0]).values()))["final"]))
    assert (code, err) == (2, f"error: no run reports a metric eval/beauty: choose one of {known}\n")


@pytest.mark.slow
def test_a_search_that_was_stopped_at_any_place_ends_with_the_same_bytes(made, config, monkeypatch, tmp_path):
    directory, words = tmp_path / "disturbed", command(config, tmp_path / "disturbed", *PRUNED)
    append, train, begun = RunDirectory.append_metrics, runner.train, []

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == 4 and "eval/accuracy" not in metrics:  # once: a second signal ends the process
            os.kill(os.getpid(), signal.SIGTERM)

    def killed(*arguments):
        begun.append(arguments)
        if len(begun) == 5:
            raise Killed
        return train(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_metrics", signalled)
        code, out, _ = jaxlm(*words)
    assert (code, records(directory)) == (143, {})
    assert out.endswith(f"stopped: the same command goes on in {directory}\n")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "train", killed)
        dies(*words)
    assert len(records(directory)) == 4
    victim = next(directory.glob("cells/*/cell.json"))
    victim.write_text(victim.read_text().replace('"seed": 5', '"seed": 4', 1))  # damaged
    assert jaxlm(*words)[0] == 0
    assert tables(directory) == tables(made[0])
    assert records(directory) == records(made[0])


@pytest.mark.slow
def test_a_failed_trial_stays_visible_a_point_is_trained_once_and_a_pruned_run_goes_on(made, config, tmp_path):
    directory = tmp_path / "fails"
    text = config.read_text().replace('"1e-4..1:log", "run.ema": "0,0.5"', '"1e-2,1e30"')
    (tmp_path / "config.py").write_text(text)
    code, out, _ = jaxlm(*command(tmp_path / "config.py", directory, "--trials", "4"))
    found = table(directory)
    assert code == 0
    assert {row["state"] for row in found["trials"]} == {"complete", "failed"}
    assert all((row["state"] == "failed") == (row["point"]["optim.peak_lr"] == "1e30") for row in found["trials"])
    assert len(records(directory)) == 2
    assert DIVERGED in out

    shutil.copytree(made[0], tmp_path / "copy")
    assert jaxlm(*command(config, tmp_path / "copy", "--trials", "6"))[0] == 0
    (before, after) = (table(place)["trials"][5] for place in (made[0], tmp_path / "copy"))
    assert (before["state"], after["state"]) == ("pruned", "complete")
    assert before["point"] == after["point"]
    curves = [records(place)[before["identity"]]["curves"]["eval/loss"] for place in (made[0], tmp_path / "copy")]
    assert curves[1][: len(curves[0])] == curves[0]
    assert curves[1][-1] == [6, after["value"]]
    (log,) = (tmp_path / "copy").glob(f"cells/*{before['identity'][:10]}.log")
    assert "going on from update" in log.read_text()
