"""A run that was stopped anywhere and started again ends in the bits of the run that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from jaxlm.train.replay.resume import verify_resume
from whole_path import ROOT, final_bits, run_main, shrunk

STDLIB = ("language_model.py", ROOT / "configs" / "gpt_stdlib.py")
EVERYTHING = "--model.dropout 0.2 --run.accumulate 2 --run.ema 0.9".split()


def records(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """20 updates with dropout, accumulation and averaging, and a checkpoint after each."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        often = ("--run.save-every", "1", "--run.keep-last", "99")
        run_main(monkeypatch, *STDLIB, *shrunk(), *EVERYTHING, *often, "--run.directory", str(directory))
    return directory


def test_the_same_seed_twice_gives_the_same_bits_and_another_seed_others(whole, tmp_path, monkeypatch):
    for seed, same in ((0, True), (1, False)):
        words = (*shrunk(), *EVERYTHING, "--run.seed", str(seed), "--run.directory", str(tmp_path / str(seed)))
        run_main(monkeypatch, *STDLIB, *words)
        assert (final_bits(tmp_path / str(seed)) == final_bits(whole)) == same
        assert (records(tmp_path / str(seed)) == records(whole)) == same


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in (0, 13) else pytest.mark.slow) for step in range(20)]
)
def test_resuming_from_any_update_gives_the_same_bits_and_the_same_records(whole, step, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    shutil.copytree(whole, directory)
    for path in (directory / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    run_main(monkeypatch, *STDLIB, *shrunk(), *EVERYTHING, "--run.directory", str(directory))
    assert final_bits(directory) == final_bits(whole)
    assert records(directory) == records(whole)


def test_a_finished_run_started_again_tells_its_result_and_changes_nothing(whole, monkeypatch, capsys):
    before = final_bits(whole), records(whole)
    run_main(monkeypatch, *STDLIB, *shrunk(), *EVERYTHING, "--run.directory", str(whole))
    told = capsys.readouterr().out
    assert "going on from update 20" in told
    assert "sample: " in told
    assert (final_bits(whole), records(whole)) == before


def test_a_longer_run_says_how_the_learning_rate_moves(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "run")
    words = (*shrunk(), *EVERYTHING, "--run.directory", str(tmp_path / "run"), "--run.steps", "30")
    run_main(monkeypatch, *STDLIB, *words)
    told = [line for line in capsys.readouterr().out.splitlines() if "run.steps 20 is now 30" in line]
    assert len(told) == 1
    assert "falling to 0.0002 at 20; it is now" in told[0]
    assert told[0].endswith("falling to 0.0002 at 30")


def start(directory, *words):
    command = [sys.executable, str(ROOT / "experiments" / STDLIB[0]), str(STDLIB[1]), *shrunk(), *words]
    command += ["--run.directory", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy())


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, monkeypatch, number):
    words = ("--run.steps", "100000", "--run.save-every", "0", "--run.eval-every", "0")
    child = start(tmp_path, *words)
    while child.poll() is None and not (tmp_path / "metrics.jsonl").is_file():
        pass
    for line in child.stdout:
        if line.startswith("step 5 "):
            child.send_signal(number)
            break
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 128 + number, output
    assert f"{number.name}: saved at update" in output
    assert "go on with: " in output
    step = int(output.split("saved at update ")[1].split()[0])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [str(step)]


@pytest.mark.slow
@pytest.mark.parametrize("place", [("local",), ("mesh",)], ids=" ".join)
def test_ten_kills_at_random_moments_leave_no_trace(place, tmp_path, capfd):
    words = [*shrunk(), *EVERYTHING, "--run.save-every", "3", "--run.steps", "60", "--place.kind", place[0]]
    code = verify_resume(str(ROOT / "experiments" / STDLIB[0]), str(STDLIB[1]), words, 10, 0, str(tmp_path / "both"))
    told = capfd.readouterr().out
    assert code == 0, told
    assert told.count("killed at update") == 10
    assert told.count("equal") == 8


def test_verification_fails_when_a_bit_differs(whole, tmp_path, capsys):
    from jaxlm.train.replay.resume import _compare

    assert _compare(whole, whole) == 0
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    assert _compare(whole, tmp_path / "run") == 1
    assert "DIFFERENT" in capsys.readouterr().out
