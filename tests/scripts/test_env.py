"""The environment script becomes the command, and the command knows what was typed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whole_path import ROOT

TELL = "import subprocess, sys; from jaxlm.runs.lineage import command; print(command())"


@pytest.fixture
def project(tmp_path):
    """A project whose environment is up to date, and has the commands of this one."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "env.py", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    stamp = {"project": hashlib.sha256(b"").hexdigest(), "extras": ["dev"]}
    (tmp_path / ".venv" / "jaxlm.json").write_text(json.dumps(stamp))
    return tmp_path


def run(project, *words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    command = ["python3", "scripts/env.py", *words]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


def test_a_run_knows_the_command_that_was_typed_and_a_process_that_it_starts_its_own(project):
    words = ("--extras", "dev", "python", "-c", TELL, "two words")
    typed = "python3 scripts/env.py --extras dev python -c " + f"'{TELL}' 'two words'\n"
    assert run(project, *words).stdout == typed
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], 'child'])"
    assert run(project, "python", "-c", child, TELL).stdout == f"{sys.executable} -c '{TELL}' child\n"


def test_a_command_that_is_not_there_is_one_line(project):
    done = run(project, "no-such-command")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "has no command no-such-command: add the extra that it comes from (--extras)" in done.stderr
