"""An ablation that is started again: after its end, after kills, after a full disk, after a change of the code."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ablations import EXPERIMENT, command, dies, jaxlm, no_training, records, tables

from jaxlm.ablate import run, unit
from jaxlm.train import train
from jaxlm.train.config import load, load_module
from jaxlm.train.run_directory import RunDirectory
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
                raise RuntimeError("killed")
            done.append(run_train(*arguments))

        return train

    run_train = unit.train
    with monkeypatch.context() as patch:
        patch.setattr(unit, "train", killed_after(1))
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
    assert code == 130
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
    with run.lock(made[0]):
        code, _, err = jaxlm(*command(config, made[0]))
    assert (code, err) == (2, f"error: another process is working in {made[0]}: wait for it or stop it\n")


def test_cells_of_other_code_are_other_cells(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    trained = []

    def refuse(build, config, directory, *_):
        trained.append(directory.name)
        raise RuntimeError("killed")

    monkeypatch.setattr(unit, "train", refuse)
    other = tmp_path / "image_classification.py"
    other.write_text(EXPERIMENT.read_text() + "\n# another byte\n")
    words = command(config, tmp_path / "copy")
    dies(words[0], str(other), *words[2:])
    assert trained[0].startswith("base-seed5-")
    assert not (tmp_path / "copy" / "cells" / trained[0]).exists()


@pytest.mark.slow
def test_a_driver_that_is_killed_at_random_moments_ends_with_the_same_bytes(config, tmp_path):
    def start(directory):
        words = [sys.executable, "-m", "jaxlm.cli", *command(config, directory)]
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


def test_a_signal_in_the_last_update_leaves_a_run_with_its_evaluation(config, monkeypatch, tmp_path):
    """Such a run is complete, so nothing would evaluate it later."""
    base, append = load(config), RunDirectory.append_metrics

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == 2:  # recorded two updates late, before the hooks of update 4
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunDirectory, "append_metrics", signalled)
    run = replace(base.run, steps=4, eval_every=0, save_every=0)
    train(load_module(EXPERIMENT).build, replace(base, run=run), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").evaluation_at(4).keys() >= {"eval/accuracy", "eval/loss"}
