"""`jaxlm tune`: the space, a search that a kill does not change, pruning, and failures in the table."""

import csv
import json
import os
import shlex
import shutil
import signal
import sys
from dataclasses import replace

import pytest
from ablations import DIVERGED, EXPERIMENT, dies, jaxlm, no_training

from jaxlm.ablate import run
from jaxlm.ablate.space import Choice, Range, declared, read_space, words_at
from jaxlm.errors import BadInput
from jaxlm.train.config import load, load_module
from jaxlm.train.run_directory import RunDirectory

CONFIG = """
from jaxlm.data.image_specs import Digits
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=MLP(classes=10, hidden=(8,)),
    data=Digits(batch=8, eval_batch=360),
    loss=Classification(),
    optim=AdamW(peak=1e-2),
    run=Run(steps=6, seed=5, log_every=2, eval_every=2, save_every=4, skip_limit=1),
)
space = {"optim.peak": "1e-4..1:log", "run.ema": "0,0.5"}
"""
FILES = ("trials.json", "trials.csv", "trials.txt")


@pytest.fixture(scope="module")
def optuna():
    return pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'jaxlm[tune]'")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "mlp.py"
    path.write_text(CONFIG)
    return path


def command(config, directory, *words):
    return ["tune", *map(str, (EXPERIMENT, config, "--directory", directory, *words))]


PRUNED = ("--trials", "9", "--prune")


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


def test_probe(made):
    print(made[1])
    assert 0
