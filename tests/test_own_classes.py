"""A run with a model, an optimizer and data of the user's own: it trains, resumes, and is evaluated from its folder."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from whole_path import ROOT, final_bits, run_fails_with, run_main, write_arrays

CONFIG = """
from dataclasses import dataclass

import optax
from my_layers import Net, Pixels

from jaxlm.losses import Classification
from jaxlm.optim.spec import Spec
from jaxlm.train import Config, Run


@dataclass(frozen=True, kw_only=True)
class Scaled(Spec):
    scale: float = 0.5

    def direction(self):
        return optax.scale(self.scale)


config = Config(
    model=Net(classes=10, width=8),
    data=Pixels(folder="pixels", batch=32, eval_batch=40),
    loss=Classification(),
    optim=Scaled(peak_lr=1e-2, schedule="constant"),
    run=Run(steps=6, log_every=1, eval_every=2, save_every=2, directory="run"),
)
"""
LAYERS = """
from dataclasses import dataclass

import flax.linen as nn

from jaxlm.data.images.sources import ArrayImages


class Net(nn.Module):
    classes: int
    width: int = 4
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(self.classes)(nn.relu(nn.Dense(self.width)(image.reshape(len(image), -1))))


@dataclass(frozen=True, kw_only=True)
class Pixels(ArrayImages):
    bright: float = 1.0
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "pixels").mkdir(parents=True)
    write_arrays(folder / "pixels", 8)
    (folder / "mine.py").write_text(CONFIG)
    (folder / "my_layers.py").write_text(LAYERS)
    monkeypatch.chdir(folder)
    return folder


def train(monkeypatch, *words):
    run_main(monkeypatch, "image_classification.py", "mine.py", *words)


def jaxlm(folder, *words):
    """The output of a command line in a process of its own, in a folder."""
    command = [sys.executable, "-m", "jaxlm", *map(str, words)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_such_a_run_resumes_to_the_same_bits_and_every_verb_finds_its_classes(project, tmp_path, monkeypatch, capsys):
    train(monkeypatch, "--model.width", "16", "--run.directory", "whole", "--run.workers", "1")
    train(monkeypatch, "--model.width", "16", "--run.steps", "4")
    train(monkeypatch, "--model.width", "16")
    assert "going on from update 4" in capsys.readouterr().out
    assert final_bits(project / "run") == final_bits(project / "whole")

    for name in ("mine.py", "my_layers.py"):
        (project / name).rename(tmp_path / name)
    records = [json.loads(line) for line in (project / "run" / "metrics.jsonl").read_text().splitlines()]
    told = jaxlm(tmp_path, "eval", project / "run")  # not where "pixels" is
    assert f"eval/accuracy {records[-1]['eval/accuracy']:.6g} (update 6)" in told
    assert "params/Dense_0/kernel" in jaxlm(tmp_path, "info", project / "run")

    shutil.copytree(project / "run", tmp_path / "copied")
    assert jaxlm(tmp_path, "eval", tmp_path / "copied") == told


def test_an_edited_class_is_another_config(project, monkeypatch, capsys):
    train(monkeypatch, "--run.steps", "2")
    layers = project / "my_layers.py"
    layers.write_text(layers.read_text().replace("nn.relu", "nn.tanh"))
    error = run_fails_with(monkeypatch, capsys, "image_classification.py", "mine.py")
    assert "model.type code/project/my_layers.py@" in error
    assert error.count("\n") == 1
    layers.write_text(layers.read_text().replace("nn.tanh", "nn.relu"))
    mine = project / "mine.py"
    mine.write_text(mine.read_text().replace("steps=6", "steps=4"))  # a setting that may change
    train(monkeypatch)
    assert "going on from update 2" in capsys.readouterr().out
