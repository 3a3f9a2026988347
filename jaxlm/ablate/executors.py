"""Where the units of an ablation run: in this process, or in a pool of fresh ones, each of which may die.

The driver writes nothing that a unit writes: whatever dies, what is on disk is what its run and its record left there.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from signal import Signals
from threading import Thread

from jaxlm.ablate.board import Board
from jaxlm.ablate.parcel import Outcome, Parcel, pack, perform, records_of
from jaxlm.ablate.record import Record
from jaxlm.ablate.unit import Unit, run_unit
from jaxlm.train.experiment import Build
from jaxlm.train.interrupt import Interrupt

LOSSES = 3  # workers that a unit may lose
POLL = 0.5  # seconds between two looks for a signal
STOPPED = 130  # exit code of a worker that a signal stopped

Finished = Generator[tuple[Unit, list[Record]], None, None]
Executor = Callable[[Build, Sequence[Unit], Path, Board], Finished]


class OpenCells(RuntimeError):
    """Cells whose workers died too often. Nothing is recorded of them, so the same command tries them again."""


def serial(build: Build, units: Sequence[Unit], home: Path, board: Board) -> Finished:
    """Run units one after another in this process; yields each with its records."""
    for unit in units:
        yield from run_unit(build, unit, home, board)


@dataclass
class Job:
    """A unit, the workers that it has lost so far, and how the last of them died."""

    unit: Unit
    losses: int = 0
    death: str = ""


def pool(build: Build, units: Sequence[Unit], home: Path, board: Board, *, processes: int) -> Finished:
    """Run units in fresh processes, some at a time; yields each with its records as it ends.

    A worker that dies is replaced, and its unit goes on from its last checkpoint. Workers die with this process, and
    stop at a checkpoint when this generator is closed. Raises OpenCells at the end for units that lost `LOSSES`
    workers; BadInput or RuntimeError for what went wrong in one; KeyboardInterrupt on SIGINT and SIGTERM.
    """
    jobs = [Job(unit) for unit in units]
    waiting, idle = deque(jobs), list[Worker]()
    busy: dict[Worker, Job] = {}
    with Interrupt() as interrupt:
        try:
            while waiting or busy:
                while waiting and len(busy) < processes:
                    worker = idle.pop() if idle else Worker()
                    busy[worker] = waiting.popleft()
                    board.began(busy[worker].unit)
                    worker.send(pack(build, busy[worker].unit, home))
                ready = connection.wait([worker.connection for worker in busy], POLL)
                if interrupt.signal:
                    raise KeyboardInterrupt
                for worker in [worker for worker in busy if worker.connection in ready]:
                    job, outcome = busy.pop(worker), worker.receive()
                    if outcome is not None:
                        idle.append(worker)
                        yield job.unit, records_of(outcome)
                    elif is_to_try_again(job, worker.death(), board):
                        waiting.append(job)
        finally:
            stop([*busy, *idle])
    check_open(jobs)


def is_to_try_again(job: Job, death: str, board: Board) -> bool:
    """Count a worker that died and tell it; whether the unit may have another one."""
    job.losses, job.death = job.losses + 1, death
    board.lost(job.unit, f"its worker died ({death})" + (", trying again" if job.losses < LOSSES else ""))
    return job.losses < LOSSES


def check_open(jobs: Sequence[Job]) -> None:
    """Raise OpenCells where a unit lost all the workers that it may."""
    open_cells = [(cell, job) for job in jobs if job.losses >= LOSSES for cell in job.unit]
    if open_cells:
        told = "; ".join(f"{cell.arm}, seed {cell.seed}" for cell, _ in open_cells)
        death = open_cells[-1][1].death
        raise OpenCells(
            f"{len(open_cells)} cells are open, because their worker died {LOSSES} times, the last by {death}: {told}; "
            "the same command tries them again"
        )


class Worker:
    """A fresh process that runs one unit after another."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,))
        self.process.start()
        theirs.close()

    def send(self, parcel: Parcel) -> None:
        """Hand it a unit. Whether it lives to take it, `receive` tells."""
        with contextlib.suppress(OSError):
            self.connection.send(parcel)

    def receive(self) -> Outcome | None:
        """What became of its unit, or None where it died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def death(self) -> str:
        """How it died."""
        self.connection.close()
        self.process.join()
        code = self.process.exitcode or 0
        return Signals(-code).name if code < 0 else f"exit code {code}"


def stop(workers: Sequence[Worker]) -> None:
    """Let workers save a checkpoint and end, and wait for them."""
    for worker in workers:
        worker.process.terminate()
        worker.connection.close()
    for worker in workers:
        worker.process.join()


def work(units: connection.Connection) -> None:
    """The life of a worker: one unit after another, until the driver has no more or dies.

    It is out of reach of the terminal's Ctrl-C, which is for the driver to hand on.
    """
    Thread(target=die_with_parent, name="driver", daemon=True).start()
    os.setpgid(0, 0)
    try:
        while True:
            units.send(perform(units.recv()))
    except (EOFError, OSError):
        return
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def die_with_parent() -> None:
    """Wait for the end of the process that started this one, then end too."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
