"""`jaxlm list` names what can be trained, and the runs of a folder with their state, without executing any of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from jaxlm.data import Text
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.runs.directory import RunDirectory
from jaxlm.train import Config, Run
from whole_path import ROOT


def jaxlm(folder, *words):
    command = [sys.executable, "-c", "import sys; from jaxlm.cli import main; main()", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)


def test_experiments_and_configs_are_named_anywhere_without_heavy_libraries(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "own.py").write_text('"""A config of mine."""\n\n1 / 0\nexperiment = "other"\n')
    heavy = (
        "import sys; sys.argv = ['jaxlm', 'list']; from jaxlm.cli import main\n"
        "try: main()\n"
        "finally: assert not {'jax', 'flax', 'orbax', 'numpy', 'rich'} & set(sys.modules)"
    )
    env = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", heavy], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    for kind in ("experiments", "configs"):
        for path in (ROOT / kind).glob("*.py"):
            assert f"\n{path.stem} " in done.stdout
    assert "other" in next(line for line in done.stdout.splitlines() if line.startswith("own "))


CONFIG = Config(model=GPT(vocab=9, depth=1, width=8, heads=2, context=8), data=Text(), optim=AdamW())


@pytest.fixture
def begin(tmp_path):
    """Begin a run that has these values of its metric at updates 1, 2, ...; it is open until the test ends."""
    (tmp_path / "experiment.py").write_text("1 / 0\n")
    opened = []

    def begin(name, values, **settings):
        home = RunDirectory(tmp_path / "runs" / name)
        config = replace(CONFIG, run=replace(Run(steps=3), **settings))
        home.begin(config, {"data": {}}, experiment=tmp_path / "experiment.py", artefacts={})
        for step, value in enumerate(values):
            home.append_metrics(step + 1, {"eval/loss": value})
        opened.append(home)
        return home

    yield begin
    for home in opened:
        home.close()


def test_the_runs_of_a_folder_are_listed_with_their_state(tmp_path, begin):
    begin("a/whole", [3.0, 2.0, 1.0]).close()
    begin("a/cut", [3.0, 2.5]).close()
    begin("early", [1.0, 2.0], patience=1, save_every=1, eval_every=1).close()
    begin("now", [])
    begin("now/inside", []).close()  # a folder in a run is no run of the folder
    old = begin("old", []).path / "config.json"
    old.write_text(json.dumps({key: value for key, value in json.loads(old.read_text()).items() if key != "format"}))
    done = jaxlm(tmp_path, "list", "runs/")
    assert done.stderr == ""
    assert [line.split(maxsplit=6)[:7] for line in done.stdout.splitlines()[1:]] == [
        ["a/cut", "2", "of", "3", "eval/loss", "2.5", "stopped"],
        ["a/whole", "3", "of", "3", "eval/loss", "1", "finished"],
        ["early", "2", "of", "3", "eval/loss", "2", "stopped early: no better for a while"],
        ["now", "0", "of", "3", "training"],
        ["old", "?", "written", "by", "another", "version,", "or damaged"],
    ]


def test_a_folder_without_runs_is_told(tmp_path):
    done = jaxlm(tmp_path, "list", "nowhere")
    assert done.returncode == 2
    assert done.stderr == "error: there is no run in nowhere: give the folder that your runs are in, as runs/\n"
