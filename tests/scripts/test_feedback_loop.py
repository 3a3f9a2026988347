"""The loop of docs/design/loop.md, once: what a service is told makes the next model better."""

import re
import subprocess
import sys

import pytest

from whole_path import ROOT


@pytest.mark.slow
def test_the_loop_ends_with_a_better_model(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "feedback_loop.py"), str(tmp_path / "loop")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = re.search(r"old (\S+), new (\S+) on 180 inputs, p (\S+)", done.stdout)
    assert float(scores[2]) > float(scores[1])
    assert float(scores[3]) < 0.05
    assert re.search(r"reloaded: (\w{12}) -> (?!\1)\w{12}", done.stdout)
