"""What the benchmarks share: peers that take turns in one process, and what is told of machine and noise."""

import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from env import ALLOCATOR

BUSY = 0.1  # the share of other processes above which times say little

Peer = Callable[[int], None]  # runs that many steps, and is done with them when it returns


class Others:
    """What share of the machine other processes have had since this was made; 0 where there is no /proc/stat."""

    def __init__(self) -> None:
        self.begin = self._now()

    def share(self) -> float:
        """Return the share, from 0 to 1."""
        total, busy = (now - then for now, then in zip(self._now(), self.begin, strict=True))
        return max(0.0, busy / total) if total else 0.0

    def _now(self) -> tuple[float, float]:
        """Seconds of all cores, and those of them that others had: so far."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0, 0.0
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        total, idle = (count / os.sysconf("SC_CLK_TCK") for count in (sum(ticks), ticks[3] + ticks[4]))
        return total, total - idle - time.process_time()


def prepare_environment() -> None:
    """Start this script again where the allocator and the thread pool of the process would be set otherwise."""
    wanted = {"GLIBC_TUNABLES": ALLOCATOR} if platform.libc_ver()[0] == "glibc" else {}
    others = Others()
    time.sleep(1)
    if others.share() > BUSY:
        wanted["OMP_WAIT_POLICY"] = "passive"
    missing = {name: value for name, value in wanted.items() if name not in os.environ}
    if missing:
        print("starting again with " + " ".join(f"{name}={value}" for name, value in missing.items()), flush=True)
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | missing)


def machine(threads: int) -> str:
    """Versions, processor and settings, in two lines."""
    versions = []
    for name in ("jax", "jaxlib", "flax", "optax", "torch"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    names = ("GLIBC_TUNABLES", "OMP_WAIT_POLICY", "XLA_FLAGS")
    settings = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return (
        f"Python {platform.python_version()}, {', '.join(versions)}\n"
        f"{_processor()}, {threads} of {os.cpu_count()} cores" + "".join(f", {s}" for s in settings)
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


Times = dict[str, list[tuple[float, float]]]  # by peer, one pair a turn: seconds of a step, and of processors for it


def alternate(peers: dict[str, Peer], repeats: int, steps: int) -> Times:
    """Time the peers turn by turn, after one turn that is not counted; who begins changes with the turn."""
    times: Times = {name: [] for name in peers}
    names = list(peers)
    for turn in range(repeats + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(0.02)  # the thread pool of the peer before falls asleep
            began, processor = time.perf_counter(), time.process_time()
            peers[name](steps)
            if turn:
                pair = (time.perf_counter() - began) / steps, (time.process_time() - processor) / steps
                times[name].append(pair)
    return times


def report(title: str, result: tuple[Times, int] | None, unit: str) -> None:
    """Print a line a peer; the result has its times and how many of the unit a step handles.

    Ratios are speeds against the first peer: of minima, and the median over turns.
    """
    if result is None:
        return
    times, amount = result
    first = next(iter(times.values()))
    print(f"\n{title}: {len(first)} turns each, {amount} {unit} a step")
    print(f"{'':<24}{'min ms':>9}{'median ms':>11}{'cpu ms':>9}{unit + '/s':>11}{'ratio min':>11}{'ratio median':>14}")
    for name, pairs in times.items():
        wall = [pair[0] for pair in pairs]
        ratio = statistics.median(base[0] / pair[0] for base, pair in zip(first, pairs, strict=True))
        print(
            f"{name:<24}{min(wall) * 1e3:>9.2f}{statistics.median(wall) * 1e3:>11.2f}"
            f"{min(pair[1] for pair in pairs) * 1e3:>9.2f}{amount / min(wall):>11.0f}"
            f"{min(base[0] for base in first) / min(wall):>11.3f}{ratio:>14.3f}",
            flush=True,
        )


class Bare:
    """A compiled step called as fast as two in flight allow, on batches that lie on the device."""

    def __init__(self, init: Callable[..., Any], step: Callable[..., Any], batches: list[Any], stride: int = 1):
        import jax

        from jaxlm import parallel

        place = parallel.local()
        self.state = place.init(init, jax.random.key(0))
        self.batches = [place.put(batch) for batch in batches]
        self.step = place.compile(step).lower(self.state, self.batches[0]).compile()
        self.stride = stride

    def __call__(self, count: int) -> None:
        """Run `count` updates."""
        import jax

        unfinished: deque[Any] = deque()
        for i in range(count // self.stride):
            self.state, metrics = self.step(self.state, self.batches[i % len(self.batches)])
            unfinished.append(metrics)
            if len(unfinished) > 2:
                jax.block_until_ready(unfinished.popleft())
        jax.block_until_ready(self.state)
