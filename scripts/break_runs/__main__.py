"""Break runs: kills, signals, damaged files and failing disks at random moments, and look at what is left.

    python scripts/break_runs/__main__.py --kills 200 --signals 200 --damages 1000 --faults 300 --seed 0

What is checked after each: docs/robustness_runs.md. Exits with 1 where something did not hold.
"""

import argparse
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from damage import damage
from server import Server

from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.seal import read_seal

HERE = Path(__file__).parent
TRAIN = ("train", HERE / "tiny.py", HERE / "tiny_config.py")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
CALLS = ("write", "read", "os.rename", "os.fsync", "os.mkdir", "os.unlink", "os.listdir", "shutil.rmtree")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EBUSY, errno.EACCES, errno.ESTALE, errno.EROFS)


class Broken(Exception):
    """Something good was deleted, something wrong was used, or a traceback was printed."""


def require(holds: Any, text: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(text)


def quiet(line: str) -> None:
    """Say nothing."""


class Campaign:
    """Runs that are broken, and an undisturbed one that they are compared with."""

    def __init__(self, scratch: Path, seed: int):
        self.scratch, self.draw, self.server = scratch, random.Random(seed), Server(scratch)
        self.counts: Counter[str] = Counter()
        self.right: set[str] = set()  # checkpoints by their bytes, whose state is that of the undisturbed run
        whole = scratch / "whole"
        code, output = self.server.start([*TRAIN, "--run.keep-last", "99", "--run.directory", whole]).wait()
        require(code == 0, output)
        every = scratch / "every"  # a signal saves at any update
        more = ["--run.save-every", "1", "--run.keep-last", "99", "--run.directory", every]
        require(self.server.start([*TRAIN, *more]).wait()[0] == 0, "every")
        checkpoints = Checkpoints(every / "checkpoints")
        self.truth = {step: digests(checkpoints.restore_raw(step)) for step in checkpoints.steps()}
        self.metrics = records(whole)
        self.lines = len(output.splitlines())
        self.config, self.steps = RunDirectory(whole).config(), max(self.truth)

    def train(self, directory: Path, **named: Any) -> Any:
        """Start the training of a directory."""
        return self.server.start([*TRAIN, "--run.directory", directory], **named)

    def whole(self, directory: Path) -> dict[int, float | None]:
        """Return the whole checkpoints with their loss; all of them must have the bits of the undisturbed run."""
        checkpoints = Checkpoints(directory / "checkpoints", say=quiet)
        found = {}
        for step in checkpoints.steps():
            if checkpoints.damage(step) is None:
                seal = read_seal(directory / "checkpoints" / str(step))
                found[step], content = seal["metrics"].get("eval/loss"), json.dumps([step, seal["files"]])
                if content not in self.right:
                    require(digests(checkpoints.restore_raw(step)) == self.truth[step], f"another state at {step}")
                    self.right.add(content)
        return found

    def check_kept(self, directory: Path, before: dict[int, float | None]) -> dict[int, float | None]:
        """Check that what was there is there still, or was replaced by newer and better checkpoints."""
        now = self.whole(directory)
        if before:
            require(max(now, default=-1) >= max(before), f"of {sorted(before)} there is {sorted(now)}")
            require(len(now) >= min(len(before), 2), f"of {sorted(before)} there is {sorted(now)}")
        scores = [value for value in before.values() if value is not None]
        if scores:
            left = [value for value in now.values() if value is not None]
            require(min(left, default=1e9) <= min(scores), "the best checkpoint is gone")
        return now

    def end(self, directory: Path, before: dict[int, float | None]) -> None:
        """Train a run to its end, and compare it with the undisturbed one."""
        code, output = self.train(directory).wait()
        require_clean(output)
        require(code == 0, f"exit code {code}: {output[-400:]}")
        require(self.steps in self.check_kept(directory, before), "there is no last checkpoint")
        require(records(directory) == self.metrics, "other metrics")

    def strike(self, number: int, signals: tuple[signal.Signals, ...]) -> None:
        """Send signals at random moments, to the same run until it ends."""
        before: dict[int, float | None] = {}
        directory, struck = self.scratch / f"{signals[0].name} {number}", 0
        while struck < 8:
            struck += 1
            command, sent = self.train(directory), self.draw.choice(signals)
            command.wait_for(self.draw.randrange(self.lines), self.draw.uniform(0, 0.2))
            ended = _signal(command.pid, sent)
            code, output = command.wait()
            self.counts[f"{sent.name} {'too late' if ended else phase(output)}"] += 1
            require_clean(output)
            expected = (0,) if ended else (0, -sent, 128 + sent)
            require(code in expected, f"exit code {code} after {sent.name}: {output[-400:]}")
            before = self.check_kept(directory, before)
            checkpoints = Checkpoints(directory / "checkpoints", say=quiet)
            require(set(checkpoints.steps()) == set(before), "a damaged checkpoint is left")
            if code == 0:
                break
        self.end(directory, before)
        shutil.rmtree(directory)
        self.counts["runs ended as the undisturbed one"] += 1

    def struck(self) -> int:
        """Return how many signals came before the end of a run."""
        return sum(n for name, n in self.counts.items() if name.startswith("SIG") and "too late" not in name)

    def fault(self, number: int) -> None:
        """Let calls on files fail at a random moment, then train to the end."""
        directory = self.scratch / f"fault {number}"
        before: dict[int, float | None] = {}
        if self.draw.random() < 0.5:  # of a run that goes on
            shutil.copytree(self.scratch / "part", directory)
            before = self.whole(directory)
        call, error = self.draw.choice(CALLS), self.draw.choice(ERRORS)
        fault = {
            "call": call,
            "errno": error,
            "at": self.draw.randrange(self.draw.choice([4, 20, 80])),
            "lasting": self.draw.random() < 0.5,
            "folder": f"{directory}/checkpoints" if self.draw.random() < 0.7 else str(directory),
        }
        code, output = self.train(directory, fault=fault).wait()
        self.counts[f"{call}: {'error told' if code == 2 else 'went on'}"] += 1
        require_clean(output)
        require(code in (0, 2), f"exit code {code} after {fault}: {output[-400:]}")
        require(
            code == 0 or [line.startswith("error: ") for line in output.splitlines()][-1], f"{fault}: {output[-400:]}"
        )
        before = self.check_kept(directory, before)
        self.end(directory, before)
        shutil.rmtree(directory)

    def damaged(self, number: int) -> None:
        """Damage a file of a run, look at the run in every way, and now and then go on with it."""
        directory = self.scratch / f"damaged {number}"
        shutil.copytree(self.scratch / self.draw.choice(["part", "kept"]), directory)
        lines = (directory / "metrics.jsonl").read_bytes().split(b"\n")
        before = self.whole(directory)
        done = damage(directory, self.draw)
        self.counts[done.split()[0]] += 1
        try:
            self._look(directory, lines)
            if number % 15 == 0:
                self._go_on(directory, {step: loss for step, loss in self.whole(directory).items() if step in before})
        except Broken as error:
            raise Broken(f"{done}: {error}") from None
        shutil.rmtree(directory)

    def _look(self, directory: Path, lines: list[bytes]) -> None:
        run = RunDirectory(directory)
        config = answer(run.config)
        require(
            config is None or config == self.config or _but_directory(config) == _but_directory(self.config), "config"
        )
        answer(run.lineage)
        path = directory / "metrics.jsonl"
        left = set(path.read_bytes().split(b"\n")) if path.is_file() else set()
        found = [*run.metrics()]
        for line in lines:
            require(not line or line not in left or json.loads(line) in found, "a record is hidden")
        self.whole(directory)
        for step in (None, "best"):
            answer(lambda step=step: Checkpoints(directory / "checkpoints", say=quiet).choose(step))

    def _go_on(self, directory: Path, before: dict[int, float | None]) -> None:
        look = (
            ("info", directory),
            ("list", directory.parent),
            ("eval", directory),
            ("eval", directory, "--step", "best"),
        )
        words = self.draw.choice(look)
        code, output = self.server.start(words).wait()
        require_clean(output)
        require(code in (0, 2), f"exit code {code} of {words[0]}: {output[-400:]}")
        code, output = self.train(directory).wait()
        require_clean(output)
        require(code in (0, 2), f"exit code {code}: {output[-400:]}")
        self.counts["went on" if code == 0 else "refused in one line"] += 1
        now = self.check_kept(directory, before)
        require(code == 2 or self.steps in now, "there is no last checkpoint")

    def prepare(self) -> None:
        """Make the runs that are damaged: one in the middle, one at its end with more checkpoints."""
        part = self.scratch / "part"
        shutil.copytree(self.scratch / "whole", part)
        RunDirectory(part).truncate_metrics(8)
        for step in Checkpoints(part / "checkpoints").steps():
            if step > 8:
                shutil.rmtree(part / "checkpoints" / str(step))
        command = self.server.start([*TRAIN, "--run.directory", self.scratch / "kept", "--run.keep-last", "4"])
        require(command.wait()[0] == 0, "kept")


def _but_directory(config: Any) -> str:
    return repr(config.data) + repr(config.optim) + repr(config.model)


def answer(read: Any) -> Any:
    """Return what a reader returns, or None where it refuses in one line."""
    try:
        return read()
    except BadInput as error:
        require("\n" not in str(error), f"more than a line: {error}")
        return None
    except Exception as error:
        raise Broken(f"{type(error).__name__}: {error}") from error


def records(directory: Path) -> list[dict[str, Any]]:
    """Return the records of a run without its times."""
    found = RunDirectory(directory).metrics()
    return [{name: x for name, x in record.items() if not name.startswith("time/")} for record in found]


def require_clean(output: str) -> None:
    """Check that a command printed no traceback and no report of a crash."""
    for word in ("Traceback", "Fatal Python", "Segmentation", "never retrieved", "terminate called"):
        require(word not in output, output[-2000:])


def phase(output: str) -> str:
    """Return how far a training had come, by what it printed."""
    marks = (
        ("run: ", "at the end"),
        ("step ", "while training"),
        ("compiling", "compiling"),
        ("run dir", "at its start"),
    )
    return next((name for mark, name in marks if mark in output), "before it said anything")


def _signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal; returns whether the process had ended before."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    return False


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--kills", "--signals", "--damages", "--faults", "--seed"):
        parser.add_argument(name, type=int, default=0)
    asked = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="break-runs-") as scratch:
        campaign = Campaign(Path(scratch), asked.seed)
        campaign.prepare()
        parts = (
            ("kills", asked.kills, lambda n: campaign.strike(n, (signal.SIGKILL,)), campaign.struck),
            ("signals", asked.signals, lambda n: campaign.strike(n, SIGNALS), campaign.struck),
            ("damages", asked.damages, campaign.damaged, None),
            ("faults", asked.faults, campaign.fault, None),
        )
        for name, count, act, done in parts:
            campaign.counts.clear()
            number = 0
            while (done() if done else number) < count:
                number += 1
                try:
                    act(number)
                except Broken as error:
                    broken += 1
                    print(f"BROKEN {name} {number}: {error}", flush=True)
            if count:
                print(f"{name}: {dict(sorted(campaign.counts.items()))}", flush=True)
        campaign.server.close()
    print(f"{broken} broken", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
