"""How the runs of one program are packed: what is exact is proved by a short trial, what is fastest is measured."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.steps.transforms import Packing
from jaxlm.train.experiment import Build
from jaxlm.train.pack import Program, Stacked, stack, unstack

Asked = Literal["auto", "alone", "unrolled", "mapped", "vmapped"]
ASKED: tuple[str, ...] = get_args(Asked)
EXACT, VMAPPED = "exact", "vmapped"  # what an identity knows of packings: runs keep their bits, or they do not
UPDATES = 3  # of a trial
SHARE = 0.6  # of the free memory that a pack may take
MOST_UNROLLED = 8  # runs: compile time grows with them
DISPATCH = 5e-3  # seconds; where an update takes longer, an exact packing has nothing to gain
MARGIN = 0.95  # a packing must take less than this part of the time alone


@dataclass(frozen=True)
class Choice:
    """How a group of runs is packed.

    width: runs in one program.    deviation: the largest relative difference of a parameter or a metric to
    the run alone in the trial; 0.0 is equality of every bit of state and metrics.    bytes: of a pack, as estimated.
    told: what was found, in one line.
    """

    program: Program
    width: int
    deviation: float
    bytes: int
    told: str


def quality(asked: str) -> str:
    """What a cell's identity says of the packing that was asked for."""
    return VMAPPED if asked == VMAPPED else EXACT


def choose(build: Build, configs: Sequence[Any], asked: Asked) -> Choice:
    """The packing of runs of one `program_digest`: the one asked for, or with "auto" the fastest exact one.

    Raises BadInput where an exact packing is asked for by name and the trial finds other bits.
    """
    alone = Program(build, configs[0], "unrolled")
    if asked == "alone" or (asked == "auto" and len(configs) == 1):
        return Choice(alone, 1, 0.0, 0, "alone")
    trial = Trial(build, configs, alone)
    if asked != "auto":
        found = trial.of(asked)
        if found.deviation and asked != "vmapped":
            raise BadInput(
                f"--packing {asked}: its runs differ from runs alone, here by {found.deviation:.1g} "
                f"after {UPDATES} updates: take --packing auto, or vmapped where that does not matter"
            )
        return found
    seconds = trial.seconds(alone, 1)
    if seconds > DISPATCH:
        return Choice(alone, 1, 0.0, 0, f"alone: an update takes {seconds * 1e3:.3g} ms, so dispatch costs little")
    best, told = Choice(alone, 1, 0.0, 0, ""), [f"alone {seconds * 1e3:.3g} ms"]
    for packing in ("mapped", "unrolled"):
        found = trial.of(packing)
        took = trial.seconds(found.program, found.width)
        told.append(f"{packing} {took * 1e3:.3g} ms" if not found.deviation else f"{packing} is not exact")
        if not found.deviation and took < MARGIN * seconds:
            best, seconds = found, took
    return Choice(best.program, best.width, 0.0, best.bytes, f"an update of one run: {', '.join(told)}")


class Trial:
    """A few updates of the first runs, packed and alone."""

    def __init__(self, build: Build, configs: Sequence[Any], alone: Program):
        self.build, self.configs, self.alone = build, configs, alone
        place = alone.place
        self.data = [build(config, place).train_data for config in configs]

    def of(self, packing: Packing) -> Choice:
        """A packing in the width that fits, compared with runs alone."""
        program, width = Program(self.build, self.configs[0], packing), len(self.configs)
        width = min(width, MOST_UNROLLED) if packing == "unrolled" else width
        width = max(1, min(width, int(SHARE * free_memory() / self.each)))
        return Choice(program, width, self.deviation(program, width), width * self.each, packing)

    @cached_property
    def each(self) -> int:
        """Bytes of one run, at most."""
        return self.alone.memory(*self.first(1))

    def first(self, width: int, lane: int = 0) -> tuple[Any, Any]:
        """States and batches before the first update, from the run `lane` on."""
        chosen = slice(lane, lane + width)
        states = stack([self.alone.begin(config) for config in self.configs[chosen]])
        return states, self.alone.place.put(Stacked(self.data[chosen])[0])

    def after(self, program: Program, width: int, lane: int = 0) -> tuple[Any, Any]:
        """States after the trial, with all metrics on the way and one batch of evaluation."""
        states, _ = self.first(width, lane)
        data, found = Stacked(self.data[lane : lane + width]), []
        for update in range(UPDATES):
            states, metrics = program.step(states, program.place.put(data[update]))
            found.append(metrics)
        found.append(program.evaluate(states, program.place.put(program.experiment.eval_data[0])))
        return unstack(states), unstack(found)

    def deviation(self, program: Program, width: int) -> float:
        """0.0 where all bits of states and metrics agree, or else the largest relative difference."""
        packed = self.after(program, width)
        worst, equal = 0.0, True
        for lane in range(width):
            own = [part[0] for part in self.after(self.alone, 1, lane)]
            here = [part[lane] for part in packed]
            equal &= all(map(same_bits, jax.tree.leaves(own), jax.tree.leaves(here)))
            worst = max(worst, relative((own[0].params, own[1:]), (here[0].params, here[1:])))
        return 0.0 if equal else max(worst, float(np.finfo(np.float32).tiny))

    def seconds(self, program: Program, width: int) -> float:
        """Of one update of one run, with the way of its batch and its metrics: the median of a few."""
        states, _ = self.first(width)
        data, times = Stacked(self.data[:width]), []
        for update in range(2 * UPDATES + 1):
            began = time.perf_counter()
            states, metrics = program.step(states, program.place.put(data[update]))
            jax.device_get(metrics)
            times.append((time.perf_counter() - began) / width)
        return statistics.median(times[1:])


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays are equal in every bit."""
    if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def relative(params: Any, others: Any) -> float:
    """The largest difference of two trees, of each leaf as a part of its own largest entry."""
    worst = jax.tree.map(lambda x, y: jnp.abs(x - y).max() / jnp.maximum(jnp.abs(x).max(), 1e-30), params, others)
    return float(max(jax.tree.leaves(jax.device_get(worst))))


def free_memory() -> int:
    """Bytes that are free on the device, or in a CPU's memory."""
    told = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in told:
        return told["bytes_limit"] - told.get("bytes_in_use", 0)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
