"""An ablation that is started again: after its end, after kills, after a full disk, after a change of the code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ablations import EXPERIMENT, Killed, command, dies, jaxlm, no_training, records, tables

from jaxlm.ablate import run
from jaxlm.ablate.audit.lost import say_lost
from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute import runner
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.config import load_config
from whole_path import ROOT


def test_the_same_command_again_trains_nothing_and_writes_the_same_bytes(made, config, monkeypatch):
    directory, _ = made
    before = tables(directory), records(directory)
    no_training(monkeypatch)
    code, out, _ = jaxlm(*command(config, directory))
    assert code == 0
    assert out.startswith("9 of 9 cells are done already\neval/accuracy (larger is better)\n")
    assert (tables(directory), records(directory)) == before


def test_a_command_that_was_stopped_at_any_place_ends_with_the_same_bytes(made, config, monkeypatch, tmp_path):
    directory = tmp_path / "disturbed"
    words = command(config, directory)

    def killed_after(count):
        done = []

        def train(*arguments):
            if len(done) == count:
                raise Killed
            done.append(run_train(*arguments))

        return train

    run_train = runner.train
    with monkeypatch.context() as patch:
        patch.setattr(runner, "train", killed_after(1))
        dies(*words)
    assert list(records(directory)) == [("base", 5)]
    assert not (directory / "table.json").exists()

    append = RunDirectory.append_metrics

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_metrics", signalled)
        code, out, _ = jaxlm(*words)
    assert code == 143
    assert out.endswith(f"stopped: the same command goes on in {directory}\n")
    assert list(records(directory)) == [("base", 5)]

    (begun,) = (path.parent for path in directory.glob("cells/slow-seed5-*/config.json"))
    half = directory / "cells" / f"base-seed6-{records(made[0])['base', 6]['identity'][:10]}"
    half.mkdir()
    (half / ".lock").touch()  # killed before it began
    whole = next(directory.glob("cells/base-seed5-*/cell.json"))
    whole.write_text(whole.read_text().replace('"seed": 5', '"seed": 4', 1))  # damaged
    assert list(records(directory)) == [("base", 4)]
    code, out, _ = jaxlm(*words)
    assert code == 0
    assert "going on from update" in begun.with_name(begun.name + ".log").read_text()
    assert tables(directory) == tables(made[0])
    assert records(directory) == records(made[0])


def test_what_lies_with_the_machine_is_no_failed_cell(made, config, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_metrics", full)
        code, _, err = jaxlm(*command(config, tmp_path / "full"))
    assert code == 2
    assert err.startswith("error: the disk is full")
    assert records(tmp_path / "full") == {}
    (tmp_path / "file").touch()
    code, _, err = jaxlm(*command(config, tmp_path / "file"))
    assert (code, err) == (2, f"error: {tmp_path / 'file'} cannot be written (File exists): give another --directory\n")
    with run.lock_directory(made[0]):
        code, _, err = jaxlm(*command(config, made[0]))
    assert code == 2
    assert err.startswith(f"error: another process is working in {made[0]}: wait for it or stop it, and run the same")


def test_cells_of_other_code_are_other_cells_and_say_what_has_changed(made, config, monkeypatch, tmp_path, capsys):
    shutil.copytree(made[0], tmp_path / "copy")
    trained = []

    def refuse(build, config, directory, *_):
        trained.append(directory.name)
        raise Killed

    monkeypatch.setattr(runner, "train", refuse)
    other = tmp_path / "image_classification.py"
    other.write_text(EXPERIMENT.read_text() + "\n# another byte\n")
    words = command(config, tmp_path / "copy")
    dies(words[0], str(other), *words[2:])
    assert trained[0].startswith("base-seed5-")
    assert not (tmp_path / "copy" / "cells" / trained[0]).exists()
    lost = "base, seed 5, and 8 more cells are trained again: they are recorded for other code (experiment.py)\n"
    assert capsys.readouterr().out.startswith(lost)


def test_lost_cells_are_told_by_what_each_of_them_lost(made, tmp_path, monkeypatch):
    shutil.copytree(made[0], tmp_path / "copy")
    found = records(made[0])
    parts = {key: json.loads(json.dumps(record["parts"])) for key, record in sorted(found.items())}
    parts["base", 5]["packages"]["optax"] = "99"
    parts["base", 6]["packages"]["optax"] = "99"
    parts["slow", 6] |= {"settings": {**parts["slow", 6]["settings"], "jax_enable_x64": True}, "packing": "vmapped"}
    parts["slow", 7]["packing"] = "vmapped"
    cells = [Cell(*key, None, changed) for key, changed in parts.items() if changed != found[key]["parts"]]
    version = found["base", 5]["parts"]["packages"]["optax"]
    assert sorted(say_lost(tmp_path / "copy", cells)) == [
        "base, seed 5, and 1 more cells are trained again: they are recorded for other "
        f'packages (optax "{version}" -> "99")',
        "slow, seed 6, is trained again: it is recorded for other settings (jax_enable_x64 false -> true)",
        "slow, seed 7, is trained again: it is recorded for other packing (exact -> vmapped)",
    ]
    assert say_lost(tmp_path / "copy", [Cell("new", 5, None, {})]) == []


@pytest.mark.slow
def test_a_driver_that_is_killed_at_random_moments_ends_with_the_same_bytes(config, tmp_path):
    def start(directory):
        words = [sys.executable, "-m", "jaxlm", *command(config, directory)]
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    draw = np.random.default_rng(0)
    for done in (0, 1, 3, 6):
        child = start(tmp_path / "killed")
        while child.poll() is None and len(records(tmp_path / "killed")) <= done:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        assert child.poll() is None
        child.kill()
        child.wait()
    assert start(tmp_path / "killed").wait() == 0
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


def test_a_run_that_a_signal_stops_in_its_last_update_is_evaluated_by_the_next_session(config, monkeypatch, tmp_path):
    """It has all updates, so nothing else would evaluate it."""
    base, append = load_config(config), RunDirectory.append_metrics

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == 2:  # recorded two updates late, before the hooks of update 4
            os.kill(os.getpid(), signal.SIGTERM)

    run = replace(base.run, steps=4, eval_every=0, save_every=0)
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_metrics", signalled)
        outcome = train(load_module(EXPERIMENT).build, replace(base, run=run), tmp_path / "run")
    assert outcome[1:] == (4, "interrupted", "SIGTERM", "SIGTERM")
    train(load_module(EXPERIMENT).build, replace(base, run=run), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").evaluation_at(4, ["eval"]).keys() >= {"eval/accuracy", "eval/loss"}
