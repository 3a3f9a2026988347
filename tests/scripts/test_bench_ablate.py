"""The benchmark of packing runs its peers for real and tells their ratios."""

import re
import subprocess
import sys

import pytest

from whole_path import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "transformer"])
def test_every_peer_is_timed(model):
    words = "--seeds 1 --steps 12 --repeats 1 --processes 1 --packings vmapped".split()
    done = subprocess.run(
        [sys.executable, "scripts/bench_ablate.py", "--model", model, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for peer in ("separate processes", "one after another", "vmapped"):
        assert re.search(rf"^{peer} +\d+\.\d +\d+\.\d +\d+\.\d\d +\d+\.\d\dx$", done.stdout, re.MULTILINE), done.stdout
    assert f"{model}: 4 runs of 12 updates" in done.stdout
