"""Where the cells of an ablation are trained: in this process, or in a pool of fresh ones, each of which may die.

The driver writes nothing that a cell writes: whatever dies, what is on disk is what its run and its record left there.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from signal import SIG_UNBLOCK, Signals, pthread_sigmask

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute.plan import CellGroup
from jaxlm.ablate.execute.progress import CellProgress
from jaxlm.ablate.execute.runner import Runner
from jaxlm.ablate.execute.worker import Task, TaskResult, records_of, run_task, to_task
from jaxlm.ablate.record import Record
from jaxlm.interrupt import Interrupt, end_with_parent, shielded_children
from jaxlm.train.experiment import Build

LOSSES = 3  # workers that a group of cells may lose
POLL = 0.5  # seconds between two looks for a signal
STOPPED = 130  # exit code of a worker that a signal stopped

Finished = Generator[tuple[Cell, Record], None, None]
Executor = Callable[[Build, Sequence[CellGroup], Path, CellProgress], Finished]


class OpenCells(RuntimeError):
    """Cells whose workers died too often. They have no record, so the same command tries them again."""


def serial(build: Build, groups: Sequence[CellGroup], directory: Path, progress: CellProgress) -> Finished:
    """Train groups of cells one after another in this process; yields each cell with its record."""
    runner = Runner(build, directory, progress)
    for group in groups:
        yield from runner.run(group)


@dataclass
class Job:
    """A group of cells, the workers that it has lost so far, and how the last of them died."""

    group: CellGroup
    losses: int = 0
    death: str = ""


def pool(
    build: Build, groups: Sequence[CellGroup], directory: Path, progress: CellProgress, *, processes: int
) -> Finished:
    """Train groups of cells in fresh processes, some at a time; yields each cell with its record.

    A worker that dies is replaced, and its cells go on from their last checkpoints. Workers die with this process, and
    stop at a checkpoint when this generator is closed.

    Args:
        build: composes the runs.
        groups: of cells.
        directory: of the ablation.
        progress: shows what begins and what is lost.
        processes: workers at a time.

    Raises:
        OpenCells: at the end, for groups that lost `LOSSES` workers.
        BadInput: a worker refused a group.
        RuntimeError: an error in a worker.
        Stopped: a signal came.
    """
    jobs = [Job(group) for group in groups]
    waiting, idle = deque(jobs), list[Worker]()
    busy: dict[Worker, Job] = {}
    with Interrupt() as interrupt:
        try:
            while waiting or busy:
                while waiting and len(busy) < processes:
                    worker = idle.pop() if idle else Worker()
                    busy[worker] = waiting.popleft()
                    progress.began(busy[worker].group)
                    worker.send(to_task(build, busy[worker].group, directory))
                ready = connection.wait([worker.connection for worker in busy], POLL)
                interrupt.raise_stopped()
                for worker in [worker for worker in busy if worker.connection in ready]:
                    job, answer = busy.pop(worker), worker.receive()
                    if answer is not None:
                        idle.append(worker)
                        yield from zip(job.group, records_of(answer), strict=True)
                    elif may_try_again(job, worker.death(), progress):
                        waiting.append(job)
        finally:
            stop([*busy, *idle])
    check_open(jobs)


def may_try_again(job: Job, death: str, progress: CellProgress) -> bool:
    """Count and show a worker that died; return whether its cells may have another one."""
    job.losses, job.death = job.losses + 1, death
    progress.lost(job.group, f"its worker died ({death})" + (", trying again" if job.losses < LOSSES else ""))
    return job.losses < LOSSES


def check_open(jobs: Sequence[Job]) -> None:
    """Raise OpenCells where a group lost all the workers that it may."""
    open_cells = [(cell, job) for job in jobs if job.losses >= LOSSES for cell in job.group]
    if open_cells:
        names = "; ".join(f"{cell.arm}, seed {cell.seed}" for cell, _ in open_cells)
        death = open_cells[-1][1].death
        raise OpenCells(
            f"{len(open_cells)} cells are open, because their worker died {LOSSES} times, the last by {death}: "
            f"{names}; the same command tries them again"
        )


class Worker:
    """A fresh process that runs one task after another."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs,))
        with shielded_children():
            self.process.start()
        theirs.close()

    def send(self, task: Task) -> None:
        """Send a task. A worker that is dead by then is found by `receive`."""
        with contextlib.suppress(OSError):
            self.connection.send(task)

    def receive(self) -> TaskResult | None:
        """Return the answer to the task, or None where the worker died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def death(self) -> str:
        """Return how the worker died: a signal or an exit code."""
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


def work(tasks: connection.Connection) -> None:
    """Run one task after another in a worker, until the driver has no more or dies.

    Signals to the driver's processes do not reach it: the driver hands them on, as SIGTERM.
    """
    end_with_parent()
    pthread_sigmask(SIG_UNBLOCK, {Signals.SIGTERM})
    os.setpgid(0, 0)
    try:
        while True:
            tasks.send(run_task(tasks.recv()))
    except (EOFError, OSError):
        return
    except KeyboardInterrupt:
        sys.exit(STOPPED)
