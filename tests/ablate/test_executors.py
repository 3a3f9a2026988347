"""Cells in other processes: what travels, what a worker refuses, and what becomes of a worker that dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest
from ablations import EXPERIMENT, command, jaxlm, records, tables

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute import pool as pools
from jaxlm.ablate.execute import worker as workers
from jaxlm.ablate.execute.pool import OpenCells, pool
from jaxlm.ablate.execute.progress import CellProgress
from jaxlm.ablate.execute.worker import check_as_planned, records_of, run_task, to_task
from jaxlm.errors import BadInput
from jaxlm.runs.load import load_module
from jaxlm.train.config import load_config
from whole_path import ROOT

CELLS = [Cell(arm, seed, None, {"arm": arm, "seed": seed}) for seed in (1, 2) for arm in ("base", "slow")]
RECORD = {"failed": None, "pruned": None, "final": {"eval/loss": 1.0}}


def test_the_cells_that_arrive_are_the_cells_that_were_sent(config, made, monkeypatch, tmp_path):
    """A task is plain JSON, and the worker's own identity of a cell is the one that was planned."""
    taken = []

    class FakeRunner:
        def __init__(self, build, directory):
            taken.extend([build, directory])

        def run(self, group):
            taken.append(group)
            return [(cell, "record") for cell in group]

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(workers, "Runner", FakeRunner)
    build, base = load_module(EXPERIMENT).build, load_config(config)
    parts = records(made[0])["slow", 6]["parts"]
    there = replace(base, run=replace(base.run, seed=6), optim=replace(base.optim, peak_lr=1e-3))
    sent = json.loads(json.dumps(to_task(build, [Cell("slow", 6, there, parts)], tmp_path)))
    assert run_task(sent) == ("records", ["record"])
    found, directory, (cell,) = taken
    assert (cell.arm, cell.seed, cell.config, cell.parts, directory) == ("slow", 6, there, parts, tmp_path)
    assert found.__code__.co_filename == build.__code__.co_filename == str(EXPERIMENT)

    sent["cells"][0][2]["platform"]["cores"] = 999
    kind, said = run_task(sent)
    assert kind == "refused"
    assert said.startswith("slow, seed 6, is planned for what its worker is not (platform.cores 999 planned, ")
    assert run_task(sent | {"folder": str(tmp_path / "nowhere")})[0] == "refused"
    kind, said = run_task(sent | {"build": "construct"})
    assert kind == "broken"
    assert "has no attribute 'construct'" in said


def test_an_outcome_is_records_or_an_error():
    assert records_of(("records", [1])) == [1]
    with pytest.raises(BadInput, match="no"):
        records_of(("refused", "no"))
    with pytest.raises(RuntimeError, match="(?s)an error in a worker.*line 3"):
        records_of(("broken", "line 3"))


def test_a_refusal_names_a_few_differences():
    parts = {"packages": {f"p{number}": "1" for number in range(9)}}
    cell = Cell("slow", 3, None, {})
    check_as_planned(replace(cell, parts=dict(parts)), parts)
    with pytest.raises(BadInput, match=r"packages.p0 1 planned, None in the worker; .*packages.p4 .*; 4 more\): let"):
        check_as_planned(cell, parts)


def test_a_build_that_no_other_process_finds_is_refused(tmp_path):
    def build(config, place):
        return None

    with pytest.raises(BadInput, match="build cannot be found by another process"):
        to_task(build, CELLS[:1], tmp_path)


class Thread(pools.Worker):
    """A worker that is a thread: it dies of cells that are listed in `deaths`, once for each time."""

    deaths, started = [], []

    def __init__(self):
        self.connection, theirs = Pipe()
        self.process = SimpleNamespace(exitcode=-9, join=lambda: None, terminate=lambda: None)
        self.started.append(self)
        threading.Thread(target=self.work, args=(theirs,), daemon=True).start()

    def work(self, theirs):
        while True:
            try:
                (cell,) = theirs.recv()
            except (EOFError, OSError):
                return theirs.close()
            if cell in self.deaths:
                self.deaths.remove(cell)
                return theirs.close()
            theirs.send(("records", [RECORD | {"of": cell}]))


@pytest.fixture
def in_threads(monkeypatch, tmp_path, capsys):
    """Run `CELLS` in two threads that die as told: the cells that ended and what was told."""

    def run(*deaths):
        monkeypatch.setattr(Thread, "deaths", list(deaths))
        monkeypatch.setattr(Thread, "started", [])
        done = []
        with CellProgress(CELLS, {}, "eval/loss") as progress:
            try:
                for cell, record in pool(None, [[cell] for cell in CELLS], tmp_path, progress, processes=2):
                    assert record["of"] == (cell.arm, cell.seed)
                    progress.ended(cell, record)
                    done.append(cell)
            finally:
                run.done, run.told = done, capsys.readouterr().out
        return done

    monkeypatch.setattr(pools, "Worker", Thread)
    monkeypatch.setattr(pools, "to_task", lambda build, group, _: [(cell.arm, cell.seed) for cell in group])
    return run


def test_workers_are_used_again_and_dead_ones_replaced(in_threads):
    assert sorted(map(str, in_threads())) == sorted(map(str, CELLS))
    assert len(Thread.started) == 2
    assert sorted(map(str, in_threads(("slow", 1), ("slow", 1), ("base", 2)))) == sorted(map(str, CELLS))
    assert len(Thread.started) >= 4
    assert in_threads.told.count("  slow, seed 1: its worker died (SIGKILL), trying again\n") == 2
    assert in_threads.told.count("cell 2 of 4: slow, seed 1 (") == 3


def test_a_cell_that_kills_three_workers_stays_open_and_all_others_are_run(in_threads):
    with pytest.raises(OpenCells, match="1 cells are open, .* died 3 times, the last by SIGKILL: slow, seed 1;"):
        in_threads(*[("slow", 1)] * 3)
    assert sorted(map(str, in_threads.done)) == sorted(str(cell) for cell in CELLS if cell is not CELLS[1])
    assert in_threads.told.count("trying again") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--processes 0", "--processes must be at least 1"),
        ("--num-cpus 2", "are for Ray"),
        ("--address auto", "are for Ray"),
        ("--on ray --num-gpus -1", "--num-gpus 0 or more"),
    ],
)
def test_options_that_do_not_go_together_are_refused(config, tmp_path, words, told):
    code, _, err = jaxlm(*command(config, tmp_path / "none", *words.split()))
    assert code == 2
    assert told in err
    assert not (tmp_path / "none").exists()


def test_without_ray_one_line_tells_what_to_install(config, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = jaxlm(*command(config, tmp_path / "none", "--on", "ray"))
    assert (code, err) == (2, "error: Ray is not installed: install it with: pip install ray\n")


# What follows starts real processes.

DEADLY = f"""
import multiprocessing, os, pathlib, signal
from jaxlm.runs.load import load_module

whole = load_module({str(EXPERIMENT)!r}).build
deaths = pathlib.Path(os.environ["DEATHS"])

def build(config, place):
    found = deaths.read_text()
    if multiprocessing.parent_process() is not None and config.optim.peak_lr == 1e-3 and config.run.seed == 6 and found:
        deaths.write_text(found[1:])
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(config, place)
"""


@pytest.fixture
def start(config, tmp_path):
    """Start an ablation in a process of its own."""

    def start(directory, *words, experiment=EXPERIMENT):
        line = command(config, directory, *words)
        line[1] = str(experiment)
        (tmp_path / "deaths").touch()
        environment = os.environ | {"DEATHS": str(tmp_path / "deaths"), "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        head = [sys.executable, "-m", "jaxlm"]
        return subprocess.Popen([*head, *line], cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment)

    return start


@pytest.mark.slow
def test_a_pool_makes_the_table_that_one_process_makes(made, start, tmp_path):
    out, err = (child := start(tmp_path / "pool", "--processes", "2")).communicate()
    assert child.returncode == 0, err
    assert tables(tmp_path / "pool") == tables(made[0])
    assert records(tmp_path / "pool") == records(made[0])
    assert "cell 2 of 9: slow, seed 5 (0 done, 0 failed, 9 left)\n" in out


@pytest.mark.slow
def test_a_cell_that_kills_its_worker_is_tried_again_and_then_stays_open(made, start, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "deaths").write_text("xxxx")
    out, err = (child := start(tmp_path / "pool", "--processes", "2", experiment=tmp_path / "deadly.py")).communicate()
    assert child.returncode == 1
    assert err.splitlines()[-1].startswith("error: 1 cells are open, because their worker died 3 times")
    assert out.count("slow, seed 6: its worker died (SIGKILL)") == 3
    assert len(records(tmp_path / "pool")) == 8
    assert not (tmp_path / "pool" / "table.json").exists()
    out, err = (child := start(tmp_path / "pool", "--processes", "2", experiment=tmp_path / "deadly.py")).communicate()
    assert child.returncode == 0, err
    assert out.startswith("8 of 9 cells are done already\n")
    assert out.count("slow, seed 6: its worker died (SIGKILL), trying again\n") == 1
    values = [
        json.loads((home / "table.json").read_text())["arms"][1]["values"] for home in (tmp_path / "pool", made[0])
    ]
    assert values[0] == values[1]


@pytest.mark.slow
def test_a_signal_stops_workers_at_a_checkpoint(start, tmp_path):
    words = ("--processes", "2", "--run.steps", "100000", "--run.log-every", "10")
    child = start(tmp_path / "pool", *words)
    while sum("compiled in" in path.read_text() for path in tmp_path.glob("pool/cells/*.log")) < 2:
        time.sleep(0.05)
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert out.endswith(f"stopped: the same command goes on in {tmp_path / 'pool'}\n")
    logs = [path.read_text() for path in tmp_path.glob("pool/cells/*.log")]
    assert len(logs) == 2
    assert all("SIGTERM: saved at update" in log for log in logs)
    assert records(tmp_path / "pool") == {}
