"""Damaged files of a run: what is read is right, or refused in one line. The whole campaign is a script."""

import contextlib
import importlib.util
import random
import shutil
import subprocess
import sys

import pytest

from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.config import load_config
from whole_path import ROOT

FOLDER = ROOT / "scripts" / "break_runs"


def load(name):
    spec = importlib.util.spec_from_file_location(f"break_runs_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with three checkpoints, and the digests of their states."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(load_module(FOLDER / "tiny.py").build, load_config(FOLDER / "tiny_config.py"), directory)
    checkpoints = Checkpoints(directory / "checkpoints")
    return directory, {step: digests(checkpoints.restore_raw(step)) for step in checkpoints.steps()}


def test_of_a_damaged_run_only_what_is_whole_is_used(whole, tmp_path):
    source, truth = whole
    draw, damage, done = random.Random(0), load("damage").damage, []
    config, lineage = RunDirectory(source).config(), RunDirectory(source).lineage()
    for number in range(30):
        directory = tmp_path / str(number)
        shutil.copytree(source, directory)
        done.append(damage(directory, draw))
        run, checkpoints = RunDirectory(directory), Checkpoints(directory / "checkpoints", say=lambda line: None)
        for read, right in ((run.config, config), (run.lineage, lineage)):
            with contextlib.suppress(BadInput):
                assert read() == right, done[-1]
        list(run.metrics())
        damaged = [step for step in truth if checkpoints.damage(step) is not None]
        assert damaged == [step for step in truth if f"checkpoints/{step}/" in done[-1] and step in damaged]
        step = next((step for step in truth if f"checkpoints/{step}/" in done[-1]), max(truth))
        with contextlib.suppress(BadInput):
            assert digests(checkpoints.restore_raw(step)) == truth[step], done[-1]
        shutil.rmtree(directory)
    assert len({words.split()[0] for words in done}) >= 8


@pytest.mark.slow
def test_kills_signals_damages_and_faults_break_nothing():
    words = "--kills 5 --signals 5 --damages 20 --faults 5 --seed 7".split()
    done = subprocess.run([sys.executable, str(FOLDER), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, "BROKEN" in done.stdout) == (0, False), done.stdout
    assert done.stdout.endswith("0 broken\n")
