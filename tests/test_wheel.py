"""The wheel has all that a newcomer types: verbs, experiments and configs."""

import subprocess
import sys

import pytest

from whole_path import ROOT


@pytest.mark.slow
def test_a_config_trains_by_its_name_from_a_wheel(tmp_path):
    source, site, work = tmp_path / "source", tmp_path / "site", tmp_path / "work"
    work.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)

    def jaxlm(*words):
        command = [sys.executable, "-m", "jaxlm", *words]
        env = {"PYTHONPATH": str(site), "HOME": str(tmp_path)}
        return subprocess.run(command, cwd=work, capture_output=True, text=True, check=True, env=env).stdout

    for kind in ("experiments", "configs"):
        assert {path.name for path in (site / "jaxlm" / kind).glob("*.py")} == {
            path.name for path in (ROOT / kind).glob("*.py")
        }
    tiny = "--run.steps 4 --optim.warmup 1 --model.widths 4 --run.directory run".split()
    assert "run: run" in jaxlm("train", "cnn_digits", *tiny)
    assert "eval/accuracy" in jaxlm("eval", "run")
    assert "finished" in jaxlm("list", ".")
