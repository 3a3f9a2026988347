"""Train cells as Ray tasks, on this machine or on a cluster whose nodes all see the working directory."""

import os
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.execute.plan import CellGroup
from jaxlm.ablate.execute.pool import LOSSES, POLL, Finished, Job, check_open
from jaxlm.ablate.execute.progress import CellProgress
from jaxlm.ablate.execute.worker import TaskResult, records_of, run_task, to_task
from jaxlm.errors import BadInput
from jaxlm.interrupt import Interrupt
from jaxlm.runs.lineage import cores
from jaxlm.train.experiment import Build

STOPPING = 60.0  # seconds for tasks to save a checkpoint in
ANSWER = 5.0  # seconds for a cluster to answer in
OF_NUMBERS = ("JAX_", "XLA_", "OMP_", "NPROC")  # prefixes of the variables that numbers depend on


def on_ray(
    build: Build,
    groups: Sequence[CellGroup],
    directory: Path,
    progress: CellProgress,
    *,
    ray: Any,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> Finished:
    """Train groups of cells as Ray tasks; yields each cell with its record, and disconnects from Ray at the end.

    Cells whose worker or node died are tried again there or elsewhere.

    Args:
        build: composes the runs.
        groups: of cells.
        directory: of the ablation, at the same path on every node.
        progress: shows what begins and what is lost.
        ray: what `connect` returned.
        num_cpus: CPUs that Ray reserves for a task. It is not pinned to them, so its numbers do not change.
        num_gpus: GPUs that Ray reserves for a task.

    Raises:
        OpenCells, BadInput, RuntimeError, Stopped: as `pool` does.
    """
    jobs = [Job(group) for group in groups]
    waiting = deque(jobs)
    running: dict[Any, Job] = {}
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=LOSSES - 1)(run_task)
    with Interrupt() as interrupt:
        try:
            while waiting or running:
                while waiting and len(running) < slots(ray, num_cpus, num_gpus):
                    job = waiting.popleft()
                    progress.began(job.group)
                    running[task.remote(to_task(build, job.group, directory))] = job
                ready, _ = ray.wait(list(running), timeout=POLL)
                interrupt.raise_stopped()
                for done in ready:
                    job = running.pop(done)
                    answer = answer_of(ray, done, job, progress)
                    if answer is not None:
                        yield from zip(job.group, records_of(answer), strict=True)
        finally:
            disconnect(ray, list(running))
    check_open(jobs)


def answer_of(ray: Any, done: Any, job: Job, progress: CellProgress) -> TaskResult | None:
    """Return the answer of a task, or None where all of its workers died, which the job notes.

    Raises:
        ray.exceptions.RayTaskError: an error of the program, such as jaxlm missing on a node.
    """
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        job.losses, job.death = LOSSES, type(error).__name__
        progress.lost(job.group, f"its workers died ({job.death})")
        return None


def disconnect(ray: Any, running: list[Any]) -> None:
    """Let the tasks that still run save a checkpoint and end, and disconnect from Ray."""
    for left in running:
        ray.cancel(left)
    if running:
        ray.wait(running, num_returns=len(running), timeout=STOPPING)
    ray.shutdown()


def connect(address: str | None, num_cpus: float, num_gpus: float) -> Any:
    """Return Ray, connected to a cluster or started on this machine.

    Call it before jax touches a device: starting Ray forks, which jax's threads may not survive. Workers get the
    variables of this process that numbers depend on: Ray would let their libraries use `num_cpus` threads each, which
    changes the order of sums.

    Args:
        address: of a cluster; None starts Ray here.
        num_cpus: CPUs in all, where Ray is started here.
        num_gpus: GPUs in all, where Ray is started here.

    Raises:
        BadInput: Ray is not installed or cannot be reached.
    """
    check_listens(address or "")
    try:
        import ray
    except ImportError:
        raise BadInput("Ray is not installed: install it with: pip install ray") from None
    environment = {name: value for name, value in os.environ.items() if name.startswith(OF_NUMBERS)}
    environment.setdefault("OMP_NUM_THREADS", str(cores()))
    settings: dict[str, Any] = {"runtime_env": {"env_vars": environment}, "log_to_driver": False}
    if address is None:
        settings |= {"num_cpus": num_cpus, "num_gpus": num_gpus or None, "include_dashboard": False}
    try:
        ray.init(address or "local", **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"Ray cannot be reached at {address or 'local'} ({line}): give another --address") from None
    return ray


def check_listens(address: str) -> None:
    """Raise BadInput where nothing listens at HOST:PORT; Ray would try for minutes before it says so."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise BadInput(f"Ray cannot be reached at {address} ({error}): give another --address") from None


def slots(ray: Any, num_cpus: float, num_gpus: float) -> int:
    """Return how many tasks the nodes run at a time; 1 where none fits yet, so that a cluster can grow or say so."""
    wanted = {name: count for name, count in {"CPU": num_cpus, "GPU": num_gpus}.items() if count}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, sum(min(int(node.get(name, 0) // count) for name, count in wanted.items()) for node in nodes))
