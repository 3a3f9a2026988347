"""Find the first update, and the first array, at which two runs differ."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.runs.compare import HostLeaves, differing, host_leaves, largest_difference
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import forked_from
from jaxlm.runs.seal import leaf_table
from jaxlm.runs.serialise import flatten, to_json
from jaxlm.steps.transforms import repeat
from jaxlm.train.recorder import Recorder

SHOWN = 20  # leaves printed


class Replay:
    """Train a run again with the config, experiment file and data of its directory."""

    def __init__(self, run_dir: RunDirectory):
        self.run_dir, self.recorder = run_dir, Recorder.existing(run_dir.path)
        self.experiment, self.checkpoints = self.recorder.experiment, self.recorder.checkpoints
        self.stride = self.recorder.config.run.repeat
        step = self.experiment.step
        self._program = self.recorder.place.compile(repeat(step, self.stride) if self.stride > 1 else step)
        self.state: Any = None
        self.completed = 0

    def begin(self, step: int) -> None:
        """Set the state to one of the run's checkpoints, or to 0 for the state before its first update."""
        origin = forked_from(self.run_dir.lineage())
        if origin and step < origin["step"]:
            raise BadInput(
                f"{self.run_dir.path} is a fork of {origin['run']} at update {origin['step']}: up to there it is that "
                "run, and `jaxlm info` shows what was changed there"
            )
        self.completed = step
        if step:
            self.state = self.recorder.restore(step)
            return
        self.state = self.recorder.fresh(self.recorder.load().arrays)

    def advance(self, updates: int) -> None:
        """Train a number of updates that is a multiple of `run.repeat`."""
        put = self.recorder.place.put
        for first in range(self.completed, self.completed + updates, self.stride):
            batches = tuple(put(self.experiment.train_data[index]) for index in range(first, first + self.stride))
            self.state, _ = self._program(self.state, batches if self.stride > 1 else batches[0])
        self.completed += updates

    def leaves(self) -> HostLeaves:
        """Return the state on the host."""
        return host_leaves(self.state)

    def recorded(self, step: int) -> HostLeaves:
        """Return the state that the run saved at an update."""
        return host_leaves(self.recorder.restore(step))


def bisect(first: str, second: str) -> int:
    """Print the first update at which two runs differ, and which leaves of the state and entries of the batch.

    Metrics give an upper bound, and checkpoints the last update at which both had the same state. From there both are
    trained again, in step with each other, each by its own config, experiment file and data, and their states compared
    after each update (after each call, where `run.repeat` has several in one).

    Args:
        first: a run directory.
        second: another one.

    Returns:
        1 if they differ, else 0.

    Raises:
        BadInput: one of the two is not a run, or has no checkpoint and no metrics.
    """
    homes = [RunDirectory.existing(path) for path in (first, second)]
    print("\n".join(circumstances(*homes)))
    bound = metrics_part(*homes)
    a, b = (Replay(home) for home in homes)
    if odd := odd_leaf(leaf_table(a.recorder.shapes()), leaf_table(b.recorder.shapes())):
        print(f"update 0: {odd}")
        return 1
    end = min(_last(a), _last(b))
    same, parted = checkpoints_part(a, b)
    if parted is None and bound is None and end in same:
        print(f"the runs agree up to update {end}")
        return 0
    stop = next(step for step in (parted, bound, end) if step is not None)
    leaves = replay(a, b, max((step for step in same if step < stop), default=0), stop)
    if leaves:
        tell(a, b, leaves)
        if bound is not None and bound < a.completed:
            print(f"their metrics part at update {bound} already, which training them again here does not give")
        return 1
    print(f"trained again here, the runs agree up to update {a.completed}")
    if parted is None and bound is None:
        return 0
    print("what parted their records is not in what trains them here: configs, experiment files, code and data")
    if parted is not None:
        tell_recorded(a, b, parted)
    return 1


def circumstances(a: RunDirectory, b: RunDirectory) -> list[str]:
    """Return lines that name what differs before the first update: config, experiment file, data, machine, packages."""
    before, after = (flatten(to_json(home.config())) for home in (a, b))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and name != "run.directory"]
    told = [f"config: {name} {json.dumps(before.get(name))}, {json.dumps(after.get(name))}" for name in names]
    if a.experiment.read_bytes() != b.experiment.read_bytes():
        told.append(f"code: {a.experiment} and {b.experiment} differ")
    sessions = [home.lineage()["sessions"][-1] for home in (a, b)]
    for part in ("data", "fingerprint", "packages"):
        there, here = (session[part] for session in sessions)
        fields = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        told += [f"{part}: {', '.join(fields)} differ"] if fields else []
    return told or ["config, experiment file, data, machine and packages are the same"]


def metrics_part(a: RunDirectory, b: RunDirectory) -> int | None:
    """Return the first update at which a metric that both recorded differs, or None."""
    first, second = (_metrics(home) for home in (a, b))
    common = first.keys() & second.keys()
    parted = sorted(at for at in common if first[at] != second[at])
    if not parted:
        print(f"metrics: all {len(common)} values that both recorded are equal")
        return None
    update, name = parted[0]
    print(f"metrics: the first to differ is {name} at update {update}: {first[parted[0]]}, {second[parted[0]]}")
    return update


def _metrics(home: RunDirectory) -> dict[tuple[int, str], Any]:
    found = {(record["step"], name): value for record in home.metrics() for name, value in record.items()}
    return {(step, name): value for (step, name), value in found.items() if not name.startswith(("time/", "step"))}


def _last(run: Replay) -> int:
    """Return the last update that a run recorded."""
    steps = [*run.checkpoints.steps(), *(record["step"] for record in run.run_dir.metrics())]
    if not steps:
        raise BadInput(f"{run.run_dir.path} has no checkpoint and no metrics yet: let it train")
    return max(steps)


def checkpoints_part(a: Replay, b: Replay) -> tuple[list[int], int | None]:
    """Compare the checkpoints that two runs have in common.

    Returns:
        The updates at which they are the same, up to the first at which they differ; and that one, or None.
    """
    same: list[int] = []
    for step in sorted(set(a.checkpoints.steps()) & set(b.checkpoints.steps())):
        if damaged := [run for run in (a, b) if run.checkpoints.damage(step)]:
            print(f"checkpoints: {damaged[0].run_dir.path} at update {step} is damaged: left out")
        elif differing(a.recorded(step), b.recorded(step)):
            print(f"checkpoints: {f'the same at update {same[-1]}, ' if same else ''}not the same at update {step}")
            return same, step
        else:
            same.append(step)
    print(f"checkpoints: the same at update {', '.join(map(str, same))}" if same else "checkpoints: none in common")
    return same, None


def replay(a: Replay, b: Replay, start: int, stop: int) -> list[str]:
    """Train both runs from `start` until their states differ or `stop` is reached; return the leaves that differ."""
    for run in (a, b):
        run.begin(start)
    print(f"training both again from update {start}", flush=True)
    stride = math.lcm(a.stride, b.stride)
    while not (leaves := differing(a.leaves(), b.leaves())) and a.completed < stop:
        for run in (a, b):
            run.advance(stride)
    return leaves


def odd_leaf(first: dict[str, str], second: dict[str, str]) -> str | None:
    """Describe the first leaf whose shape or dtype differs between two states, or return None."""
    for name in {**first, **second}:
        if first.get(name) != second.get(name):
            return f"{name} is {first.get(name, 'absent')} in the first and {second.get(name, 'absent')} in the second"
    return None


def tell(a: Replay, b: Replay, leaves: Sequence[str]) -> None:
    """Print what differs between two runs at the update where they are."""
    update = a.completed
    told = "the first after which the states differ" if update else "the states differ before the first update"
    print(f"update {update}: {told}, in {len(leaves)} leaves")
    _tell_leaves(a.leaves(), b.leaves(), leaves)
    if update == 0:
        return
    stride = math.lcm(a.stride, b.stride)
    for index in range(update - stride, update):
        entries = odd_entries(a.experiment.train_data[index], b.experiment.train_data[index])
        print(f"its batch {index}: {', '.join(entries)} differ" if entries else f"its batch {index} is the same")


def odd_entries(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the names of the batch entries that are not equal in every bit."""
    return differing(*({name: np.asarray(values) for name, values in batch.items()} for batch in (first, second)))


def tell_recorded(a: Replay, b: Replay, update: int) -> None:
    """Print how two recorded states differ, and which of the two runs gives the same when it is trained again."""
    first, second = a.recorded(update), b.recorded(update)
    leaves = differing(first, second)
    print(f"update {update}: the first checkpoints that differ, in {len(leaves)} leaves")
    _tell_leaves(first, second, leaves)
    for run, state in ((a, first), (b, second)):
        same = not differing(run.leaves(), state)
        print(f"{run.run_dir.path} {'is' if same else 'IS NOT'} at update {update} what training it again here gives")


def _tell_leaves(first: HostLeaves, second: HostLeaves, leaves: Sequence[str]) -> None:
    largest = largest_difference(first[leaves[0]], second[leaves[0]])
    print(f"  {leaves[0]}, largest difference {largest:.6g}")
    for name in leaves[1:SHOWN]:
        print(f"  {name}")
    if len(leaves) > SHOWN:
        print(f"  and {len(leaves) - SHOWN} more")
