"""A run goes on with the program that it began with, on any placement, and says what is not as it was."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from test_fork import EXPERIMENT
from tiny_run import PLACES, config, records

from jaxlm.errors import BadInput
from jaxlm.optim import SGD
from jaxlm.runs.compare import host_leaves
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.recorder import Recorder
from whole_path import ROOT

SHORT, LONG = (config(optim=SGD(peak_lr=0.1, schedule="constant"), steps=steps) for steps in (4, 8))


@pytest.fixture
def experiment(tmp_path):
    """An experiment file with a module beside it."""
    (tmp_path / "experiment.py").write_text(f'"""Tiny."""\nimport beside\n{EXPERIMENT}')
    (tmp_path / "beside.py").write_text("VALUE = 1\n")
    return tmp_path / "experiment.py"


def begin(experiment, asked=SHORT):
    train(load_module(experiment).build, asked, experiment.parent / "run")


def edit(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("experiment.py", "descend(loss,", "descend(  loss ,", None),
        ("experiment.py", '"""Tiny."""', '"""Small."""\n# and a comment', None),
        (
            "experiment.py",
            "loss, config, place",
            "loss, config, place  # slow\n, augment=None",
            "experiment.py line 15 is 'step=descend\\(loss, config, place  # slow', and was 'step=descend\\(loss",
        ),
        ("experiment.py", "import beside\n", "", "beside.py is not here"),
        ("beside.py", "VALUE = 1", "VALUE = 2", "beside.py line 1 is 'VALUE = 2', and was 'VALUE = 1'"),
        ("beside.py", "VALUE = 1", "VALUE = 1\nimport further", "further.py is new here|beside.py has 2 lines"),
        ("run/code/FOLDER/beside.py", "VALUE = 1", "VALUE = 3", "beside.py line 1 is 'VALUE = 1', and was 'VALUE = 3'"),
    ],
)
def test_an_edited_program_does_not_go_on_with_a_run(experiment, file, old, new, told):
    (experiment.parent / "further.py").write_text("")
    begin(experiment)
    kept = (experiment.parent / "run" / "code" / experiment.parent.name / "experiment.py").read_text()
    edit(experiment.parent / file.replace("FOLDER", experiment.parent.name), old, new)
    if told is None:
        begin(experiment, LONG)
        assert (experiment.parent / "run" / "code" / experiment.parent.name / "experiment.py").read_text() == kept
        return
    before = records(experiment.parent / "run")
    with pytest.raises(BadInput, match=f"began with another experiment.py \\((.*)({told})"):
        begin(experiment, LONG)
    assert records(experiment.parent / "run") == before


def test_its_own_copy_goes_on_with_a_run_whose_experiment_was_edited(experiment):
    begin(experiment)
    edit(experiment, "descend(loss", "descend(None")
    own = experiment.parent / "run" / "code" / experiment.parent.name / "experiment.py"
    train(load_module(own).build, LONG, experiment.parent / "run")
    assert records(experiment.parent / "run")[-1]["step"] == 8


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("local", "mesh(2, 2)"),
        *(
            pytest.param(first, second, marks=pytest.mark.slow)
            for first in PLACES
            for second in PLACES
            if first != second and (first, second) != ("local", "mesh(2, 2)")
        ),
    ],
)
def test_another_placement_goes_on_to_the_same_numbers_and_says_so(experiment, capsys, first, second):
    begin(experiment, dataclasses.replace(SHORT, place=PLACES[first]))
    capsys.readouterr()
    begin(experiment, dataclasses.replace(LONG, place=PLACES[second]))
    told = f"placement {PLACES[first].build()} is now {PLACES[second].build()}: from update 4 on, numbers are equal to"
    assert told in capsys.readouterr().out
    train(load_module(experiment).build, LONG, experiment.parent / "whole")
    found, wanted = (host_leaves(Recorder.existing(experiment.parent / name).restore(8)) for name in ("run", "whole"))
    for name, leaf in wanted.items():
        np.testing.assert_allclose(found[name], leaf, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_another_number_of_devices_goes_on_to_the_same_numbers_and_says_so(experiment):
    """Saved on four devices, in four parts; restored on two, in two."""
    code = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'tests'), str(ROOT / 'tests' / 'train')]!r}\n"
        "from test_resume_changes import LONG, SHORT\nfrom jaxlm.parallel import PlacementSpec\n"
        "from jaxlm.runs.load import load_module\nfrom jaxlm.train import train\nimport dataclasses, jax\n"
        "place = PlacementSpec('mesh', 1, jax.device_count())\n"
        "asked = dataclasses.replace(SHORT if jax.device_count() == 4 else LONG, place=place)\n"
        f"train(load_module({str(experiment)!r}).build, asked, {str(experiment.parent / 'run')!r})\n"
    )
    for devices in (4, 2):
        env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "devices 4 is now 2" in done.stdout
    assert "placement Mesh(data=1, fsdp=4, rules=()) is now Mesh(data=1, fsdp=2, rules=())" in done.stdout
    train(load_module(experiment).build, LONG, experiment.parent / "whole")
    for name, wanted in records_by_name(experiment.parent / "whole").items():
        np.testing.assert_allclose(records_by_name(experiment.parent / "run")[name], wanted, rtol=1e-5)


def records_by_name(directory):
    return {(r["step"], name): value for r in records(directory) for name, value in r.items()}


def test_the_same_session_again_says_nothing_of_rounding(experiment, capsys):
    begin(experiment)
    begin(experiment, LONG)
    assert "equal to rounding" not in capsys.readouterr().out


def test_a_run_trains_outside_of_the_main_thread(experiment):
    thread = threading.Thread(target=begin, args=(experiment,))
    thread.start()
    thread.join()
    assert Recorder.existing(experiment.parent / "run").checkpoints.steps()[-1] == 4


@pytest.mark.slow
def test_several_processes_are_refused_in_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, jax\n"
        f"jax.distributed.initialize('127.0.0.1:{port}', 2, int(sys.argv.pop()))\n"
        "from jaxlm.runs.load import load_module\nfrom jaxlm.train import main\n"
        f"main(load_module({str(ROOT / 'experiments' / 'language_model.py')!r}).build)\n"
    )
    words = [
        sys.executable,
        str(script),
        str(ROOT / "configs" / "gpt_stdlib.py"),
        "--run.directory",
        str(tmp_path / "run"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*words, str(rank)], env=env, cwd=tmp_path, **pipes) for rank in range(2)]
    for rank, child in enumerate(children):
        _, error = child.communicate(timeout=120)
        assert child.returncode == 2
        assert f"error: this is process {rank} of 2 of jax.distributed: jaxlm trains in one process" in error
        assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
