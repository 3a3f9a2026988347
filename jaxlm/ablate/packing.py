"""How the runs of one program are packed: a short trial tells which are exact, and which is fastest."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.protocol import Data
from jaxlm.errors import BadInput
from jaxlm.steps.transforms import Packing
from jaxlm.train.experiment import Build
from jaxlm.train.loop import by_shape
from jaxlm.train.program import Program, Stacked, stack, unstack

Asked = Literal["auto", "alone", "unrolled", "mapped", "vmapped"]
EXACT, VMAPPED = "exact", "vmapped"  # what an identity knows of packings: runs keep their bits, or they do not
EXACT_PACKINGS: tuple[Packing, ...] = ("mapped", "unrolled")
UPDATES = 2  # of a trial, at each of its places
PLACES = 4  # of a run at which a trial looks: a schedule may round otherwise at one update and alike at all others
TIMED = 6  # updates whose times are compared
SHARE = 0.6  # of the free memory that a pack may take
MOST_UNROLLED = 8  # runs: compile time grows with them
DISPATCH = 5e-3  # seconds; where an update takes longer, an exact packing has nothing to gain
MARGIN = 0.95  # a packing must take less than this part of the time alone


@dataclass(frozen=True)
class Choice:
    """How the runs of one program are packed.

    program: the packed one; None where each run is to train alone.    width: runs in it.    bytes: of a pack on each
    device, as estimated.    deviation: the largest relative difference of a parameter or a metric to the run alone in
    the trial; 0.0 is equality of every bit of state and metrics.    told: what was found, in one line.
    """

    program: Program | None
    width: int
    bytes: int
    deviation: float
    told: str


def quality(asked: str) -> str:
    """What a cell's identity says of the packing that was asked for."""
    return VMAPPED if asked == VMAPPED else EXACT


def choose(build: Build, configs: Sequence[Any], asked: Asked) -> Choice:
    """The packing of runs of one `program_digest`: the one asked for, or with "auto" the fastest exact one.

    Raises BadInput where an exact packing is asked for by name and the trial finds other bits.
    """
    alone = Choice(None, 1, 0, 0.0, "one after another")
    if asked == "alone" or len(configs) == 1:
        return alone
    trial = Trial(build, configs)
    if asked != "auto":
        found = trial.of(asked)
        if found.deviation and asked != VMAPPED:
            raise BadInput(
                f"--packing {asked}: its runs differ from runs alone, here by {found.deviation:.1g} in a "
                "few updates: take --packing auto, or vmapped where that does not matter"
            )
        return found
    best, seconds = alone, trial.seconds_alone()
    told = [f"alone {seconds * 1e3:.3g} ms"]
    if seconds > DISPATCH:
        return replace(
            alone, told=f"{alone.told}, since an update takes {seconds * 1e3:.3g} ms and packing has little to gain"
        )
    for packing in EXACT_PACKINGS:
        found = trial.of(packing)
        if found.deviation or found.program is None:
            told.append(f"{packing} is not exact")
            continue
        took = trial.seconds(found.program, found.width)
        told.append(f"{packing} {took * 1e3:.3g} ms")
        if took < MARGIN * seconds:
            best, seconds = found, took
    return replace(best, told=f"{best.told}; an update of one run takes: {', '.join(told)}")


class Trial:
    """A few updates of the first runs, packed and alone."""

    def __init__(self, build: Build, configs: Sequence[Any]):
        self.build, self.configs = build, configs
        self.lead = Program(build, configs[0], "unrolled")  # its place, its experiment, its initialisation
        self.place, self.experiment = self.lead.place, self.lead.experiment
        self._step = self.place.compile(self.experiment.step)
        self.step = by_shape(self.compiled)
        self.evaluate = self.place.compile(self.experiment.evaluate, donate=False)

    def compiled(self, state: Any, batch: Any) -> Any:
        """The step of a run by itself, compiled as `train` does it, so that runs alone need not do it again."""
        return self._step.lower(state, batch).compile()

    @cached_property
    def data(self) -> list[Data]:
        """The training data of each run."""
        return [self.build(config, self.place).train_data for config in self.configs]

    def of(self, packing: Packing) -> Choice:
        """A packing spread over all local devices, or on one where only that is exact; compared with runs alone."""
        devices = min(jax.local_device_count(), len(self.configs))
        found = self.on(packing, devices)
        return self.on(packing, 1) if devices > 1 and found.deviation and packing != VMAPPED else found

    def on(self, packing: Packing, devices: int) -> Choice:
        """A packing in the width that fits into the memory of so many devices, compared with runs alone."""
        each = max(1, int(SHARE * free_memory() / self.bytes_each))
        each = min(each, MOST_UNROLLED) if packing == "unrolled" else each
        width = even(min(len(self.configs), devices * each), devices)
        program = Program(self.build, self.configs[0], packing, devices)
        size = width // devices * self.bytes_each
        where = f"dealt out over {devices} devices, " if devices > 1 else ""
        a_device = " a device" if devices > 1 else ""
        told = f"{packing}, {width} runs in a program {where}of about {size / 1e6:,.0f} MB{a_device}"
        return Choice(program, width, size, self.deviation(program, width), told)

    @cached_property
    def bytes_each(self) -> int:
        """What a run takes at most: its state twice, since a save copies it, batches in flight, and intermediates."""
        state, batch = self.lead.begin(self.configs[0]), self.put(self.experiment.train_data[0])
        held = sum(x.nbytes for x in jax.tree.leaves((state, state, [batch] * 4)))
        analysis = self.compiled(state, batch).memory_analysis()
        return held + (analysis.temp_size_in_bytes if analysis is not None else held)

    def put(self, batch: Any) -> Any:
        """Send a batch to the device."""
        return self.place.put(batch)

    @property
    def places(self) -> list[int]:
        """The updates at which the trial begins anew, from the first on to the last ones of a run."""
        last = max(0, self.configs[0].run.steps - UPDATES)
        return sorted({last * place // (PLACES - 1) for place in range(PLACES)})

    def packed(self, program: Program, width: int) -> Any:
        """States after the trial, with the metrics on the way and one batch of evaluation: a list, a run each."""
        data, found = Stacked(self.data[:width]), []
        states = stack([self.lead.begin(config) for config in self.configs[:width]])
        for place in self.places:
            states = program.put(counted_from(states, place))
            for update in range(UPDATES):
                states, metrics = program.step(states, program.put(data[place + update]))
                found.append(metrics)
        batch = program.spread(width).share(self.experiment.eval_data[0])
        return unstack((states, found, program.evaluate(states, batch)))

    def alone(self, run: int) -> Any:
        """The same of one run by itself."""
        state, found = self.lead.begin(self.configs[run]), []
        for place in self.places:
            state = counted_from(state, place)
            for update in range(UPDATES):
                state, metrics = self.step(state, self.put(self.data[run][place + update]))
                found.append(metrics)
        return state, found, self.evaluate(state, self.put(self.experiment.eval_data[0]))

    def deviation(self, program: Program, width: int) -> float:
        """0.0 where all bits of states and metrics agree, or else the largest relative difference."""
        worst, equal = 0.0, True
        for run, here in enumerate(self.packed(program, width)):
            own = self.alone(run)
            equal &= all(map(same_bits, jax.tree.leaves(own), jax.tree.leaves(here)))
            worst = max(worst, relative((own[0].params, own[1:]), (here[0].params, here[1:])))
        return 0.0 if equal else max(worst, float(np.finfo(np.float32).tiny))

    def seconds(self, program: Program, width: int) -> float:
        """Of one update of one run in a pack."""
        states = program.put(stack([self.lead.begin(config) for config in self.configs[:width]]))
        return self._time(program.step, states, Stacked(self.data[:width]), program.put) / width

    def seconds_alone(self) -> float:
        """Of one update of one run by itself."""
        return self._time(self.step, self.lead.begin(self.configs[0]), self.experiment.train_data, self.put)

    def _time(self, step: Any, state: Any, data: Data, put: Any) -> float:
        """The median of a few updates, each with the way of its batch and of its metrics."""
        times = []
        for update in range(TIMED + 1):
            began = time.perf_counter()
            state, metrics = step(state, put(data[update]))
            jax.device_get(metrics)
            times.append(time.perf_counter() - began)
        return statistics.median(times[1:])


def even(runs: int, devices: int) -> int:
    """The most of so many runs that deal out evenly over devices; all where there are fewer of them than devices."""
    return runs - runs % devices if runs > devices else runs


def counted_from(state: Any, update: int) -> Any:
    """A state, or several, whose counts of updates say that so many are completed."""

    def one(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return jnp.full_like(leaf, update) if name in ("step", "count") else leaf

    return jax.tree_util.tree_map_with_path(one, state)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays are equal in every bit."""
    if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def relative(params: Any, others: Any) -> float:
    """The largest difference of two trees, of each leaf as a part of its own largest entry."""

    def one(x: Any, y: Any) -> Any:
        return np.abs(x - y).max() / max(np.abs(x).max(), 1e-30)

    return float(max(jax.tree.leaves(jax.tree.map(one, *jax.device_get((params, others))))))


def free_memory() -> int:
    """Bytes that are free on a device; the devices of a CPU share its memory."""
    told = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in told:
        return told["bytes_limit"] - told.get("bytes_in_use", 0)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()
