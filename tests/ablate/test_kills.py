"""SIGKILL at random moments of drivers and workers: the table has the bytes of an undisturbed one.

15 kills, which take a minute and a half on two cores; JAXLM_TEST_KILLS=100 asks for more.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ablations import CONFIG, EXPERIMENT, tables

from whole_path import ROOT

KILLS = int(os.environ.get("JAXLM_TEST_KILLS", "15"))
ARMS = '{"slow": ("--optim.peak-lr", "1e-3"), "narrow": ("--model.hidden", "4"), "average": ("--run.ema", "0.9")}'
LONGEST = 8.0  # seconds between two kills: startup, training and writing are all struck
PROC = Path("/proc")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the workers of a driver are found in /proc"),
]


@pytest.fixture
def start(tmp_path):
    """Start the ablation of 4 arms at 6 seeds in two workers, in a directory."""
    head = CONFIG[: CONFIG.index("ablations")].replace("(16,)", "(8,)").replace("steps=12", "steps=6")
    head = head.replace("eval_every=6, save_every=4", "eval_every=3, save_every=2")
    (tmp_path / "config.py").write_text(f"{head}ablations = {ARMS}\n")
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    words = [sys.executable, "-m", "jaxlm", "ablate", str(EXPERIMENT), str(tmp_path / "config.py")]

    def start(directory):
        more = ["--seeds", "6", "--processes", "2", "--directory", str(directory)]
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen([*words, *more], cwd=ROOT, stdout=log, stderr=log, env=environment)

    return start


def workers_of(driver):
    """The process ids of the pool of a driver."""
    found = []
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            is_worker = b"spawn_main" in stat.with_name("cmdline").read_bytes()
            if int(parent) == driver and state != "Z" and is_worker:
                found.append(int(stat.parent.name))
    return sorted(found)


def written(directory):
    """Every record on disk, and when it was written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.glob("cells/*/cell.json")}


def wait_until_gone(processes):
    deadline = time.monotonic() + 20
    while any((PROC / str(process)).exists() for process in processes):
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.01)


def strike(driver, draw):
    """Kill a driver, with what becomes of its workers, or one of its workers; None where it has none yet."""
    workers = workers_of(driver.pid)
    if draw.random() < 0.5:
        driver.kill()
        driver.wait()
        wait_until_gone(workers)
        return "driver"
    if not workers:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(draw.choice(workers), signal.SIGKILL)
        return "worker"


def made_under_kills(start, directory, draw, struck):
    """Start drivers in a directory until one ends well, and kill until there are `KILLS` in all."""
    driver, before = start(directory), {}
    while driver.poll() != 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(draw.uniform(0, LONGEST) if len(struck) < KILLS else None)
        if driver.poll() is None and (victim := strike(driver, draw)):
            struck.append(victim)
        now = written(directory)
        assert before.items() <= now.items()  # no record was lost, changed or written again
        before = now
        if driver.poll() in (1, -signal.SIGKILL):  # 1: a cell lost three workers
            driver = start(directory)
        assert driver.poll() in (None, 0)
    return before


def test_a_table_made_under_kills_has_the_bytes_of_an_undisturbed_one(start, tmp_path):
    assert start(tmp_path / "whole").wait() == 0
    draw, struck, rounds = random.Random(0), [], 0
    while len(struck) < KILLS:
        rounds += 1
        directory = tmp_path / f"disturbed {rounds}"
        assert len(made_under_kills(start, directory, draw, struck)) == 24
        assert tables(directory) == tables(tmp_path / "whole")
        assert not list(directory.rglob("*.partial"))
    print(f"{struck.count('driver')} drivers and {struck.count('worker')} workers killed, {rounds} tables made")
    assert {"driver", "worker"} == set(struck)
