"""Units as Ray tasks, on this machine or on a cluster whose nodes all see the working directory."""

import os
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.board import Board
from jaxlm.ablate.executors import LOSSES, POLL, Finished, Job, check_open
from jaxlm.ablate.parcel import pack, perform, records_of
from jaxlm.ablate.unit import Unit
from jaxlm.errors import BadInput
from jaxlm.train.experiment import Build
from jaxlm.train.interrupt import Interrupt
from jaxlm.train.lineage import cores

STOPPING = 60.0  # seconds for tasks to save a checkpoint in
ANSWER = 5.0  # seconds for a cluster to answer in
OF_NUMBERS = ("JAX_", "XLA_", "OMP_", "NPROC")  # how the variables begin that numbers depend on


def on_ray(
    build: Build,
    units: Sequence[Unit],
    home: Path,
    board: Board,
    *,
    ray: Any,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> Finished:
    """Run units as Ray tasks; yields each with its records as it ends, and lets go of Ray at the end.

    ray: what `connect` returned.
    num_cpus, num_gpus: what Ray keeps free for a task. They do not pin it, so they do not change its numbers.

    A unit whose worker or node died is tried again there or elsewhere. Raises what `executors.pool` raises.
    """
    jobs = [Job(unit) for unit in units]
    waiting = deque(jobs)
    running: dict[Any, Job] = {}
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=LOSSES - 1)(perform)
    with Interrupt() as interrupt:
        try:
            while waiting or running:
                while waiting and len(running) < slots(ray, num_cpus, num_gpus):
                    job = waiting.popleft()
                    board.began(job.unit)
                    running[task.remote(pack(build, job.unit, home))] = job
                ready, _ = ray.wait(list(running), timeout=POLL)
                if interrupt.signal:
                    raise KeyboardInterrupt
                for done in ready:
                    job = running.pop(done)
                    try:
                        outcome = ray.get(done)
                    except ray.exceptions.RayTaskError:  # an error of the program: jaxlm is missing there, and the like
                        raise
                    except ray.exceptions.RayError as error:
                        job.losses, job.death = LOSSES, type(error).__name__
                        board.lost(job.unit, f"its workers died ({job.death})")
                        continue
                    yield job.unit, records_of(outcome)
        finally:
            for left in running:
                ray.cancel(left)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=STOPPING)
            ray.shutdown()
    check_open(jobs)


def connect(address: str | None, num_cpus: float, num_gpus: float) -> Any:
    """Ray, connected to a cluster, or started on this machine (None) with so many CPUs and GPUs.

    To be called before jax has touched a device: starting Ray forks, which jax's threads may not survive. Workers get
    the environment of this process where numbers depend on it: Ray would have their libraries use `num_cpus` threads
    each, and the order of sums would follow. Raises BadInput where Ray is not installed or cannot be reached.
    """
    check_listens(address or "")
    try:
        import ray
    except ImportError:
        raise BadInput("Ray is not installed: install it with: pip install 'jaxlm[ray]'") from None
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
    """Raise BadInput where nothing listens at HOST:PORT; Ray would try for minutes before it tells so."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise BadInput(f"Ray cannot be reached at {address} ({error}): give another --address") from None


def slots(ray: Any, num_cpus: float, num_gpus: float) -> int:
    """How many tasks the nodes of a cluster run at a time; 1 where none fits yet, so that it can tell or grow."""
    wanted = {name: count for name, count in {"CPU": num_cpus, "GPU": num_gpus}.items() if count}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, sum(min(int(node.get(name, 0) // count) for name, count in wanted.items()) for node in nodes))
