"""Prove that a run can be killed at any moment: train, kill, resume, compare every bit."""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory


def verify_resume(experiment: str, config: str, words: list[str], kills: int, seed: int, directory: str | None) -> int:
    """Train once undisturbed and once killed with SIGKILL at random moments; compare the final states.

    Each training is a child process with the command line that a user would type. The moments are drawn among the
    updates, and within the update by time, so that they hit steps, evaluations and saves alike. Prints the SHA-256 of
    every group of leaves side by side.

    Args:
        experiment: the experiment file.
        config: the config file.
        words: overrides of the config.
        kills: how many.
        seed: of the moments.
        directory: where both runs are kept; None removes them.

    Returns:
        0 if all leaves are equal, else 1.
    """
    with tempfile.TemporaryDirectory(prefix="verify-resume-") as scratch:
        home = Path(directory or scratch)
        whole, killed = home / "undisturbed", home / "killed"
        if whole.exists() or killed.exists():
            raise BadInput(f"{home} holds an earlier verification: remove it or give another --directory")
        command = [sys.executable, "-m", "jaxlm", "train", experiment, config, *words]
        print("training undisturbed", flush=True)
        _finish(_start(command, whole))
        settings = RunDirectory.existing(whole).config().run
        if not settings.save_every:
            print("note: run.save-every is 0, so every resume starts anew", flush=True)
        _train_with_kills(command, killed, settings.steps, kills, random.Random(seed))
        return _compare(whole, killed)


def _start(command: list[str], directory: Path) -> subprocess.Popen:
    words = [*command, "--run.directory", str(directory)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy())


def _finish(child: subprocess.Popen) -> None:
    output, _ = child.communicate()
    if child.returncode:
        last = output.strip().splitlines()[-1] if output.strip() else f"exit code {child.returncode}"
        raise BadInput(f"the training failed: {last}")


def _train_with_kills(command: list[str], directory: Path, steps: int, kills: int, draw: random.Random) -> None:
    for target in sorted(draw.randrange(steps) for _ in range(kills)):
        child = _start(command, directory)
        if not _wait_until(child, directory, target):
            raise BadInput("the training ended before it could be killed: raise run.steps or lower run.log-every")
        time.sleep(draw.random() * 0.2)
        child.kill()
        child.communicate()
        left = sorted(path.name for path in (directory / "checkpoints").glob("*"))
        print(f"killed at update {_last_update(directory)}; checkpoints: {', '.join(left) or 'none'}", flush=True)
    _finish(_start(command, directory))


def _wait_until(child: subprocess.Popen, directory: Path, target: int) -> bool:
    """Wait until a child reaches an update, read from its metrics; return False where it ended before."""
    before = (directory / "metrics.jsonl").stat().st_mtime_ns if (directory / "metrics.jsonl").is_file() else 0
    while child.poll() is None:
        path = directory / "metrics.jsonl"
        if path.is_file() and path.stat().st_mtime_ns != before and _last_update(directory) >= target:
            return True
        time.sleep(0.005)
    return False


def _last_update(directory: Path) -> int:
    return max((record["step"] for record in RunDirectory(directory).metrics()), default=0)


def _compare(whole: Path, killed: Path) -> int:
    from jaxlm.runs.checkpoint import Checkpoints
    from jaxlm.runs.compare import digests

    states = []
    for directory in (whole, killed):
        checkpoints = Checkpoints(directory / "checkpoints")
        states.append(digests(checkpoints.restore_raw(checkpoints.steps()[-1])))
    names = list(dict.fromkeys(name for state in states for name in state))
    width = max(map(len, names))
    print(f"{'':{width}}  {'undisturbed':64}  {'killed and resumed':64}")
    for name in names:
        first, second = (state.get(name, "absent") for state in states)
        print(f"{name:{width}}  {first:64}  {second:64}  {'equal' if first == second else 'DIFFERENT'}")
    return int(states[0] != states[1])
