"""Train runs of one program at the same time. Each keeps the run directory that it would keep alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from jaxlm.data.loader import batches
from jaxlm.data.protocol import Batch, Data
from jaxlm.errors import BadInput
from jaxlm.interrupt import Interrupt
from jaxlm.parallel import Together, together
from jaxlm.parallel.together import Kind
from jaxlm.runs.files import disk_error
from jaxlm.steps import Metrics
from jaxlm.train.experiment import Build
from jaxlm.train.loop import compile_by_shape, every, fit
from jaxlm.train.main import begin_run, open_run
from jaxlm.train.meter import Meter, raise_where_halted
from jaxlm.train.recorder import Recorder


def train_pack(
    build: Build, packing: Kind, configs: Sequence[Any], directories: Sequence[Path], logs: Sequence[TextIO]
) -> list[str | None]:
    """Train runs of one program at the same time, from the update that all of them have reached to their end.

    A run whose numbers are no longer finite ends there, and the others go on.

    Args:
        build: composes the runs, all with the functions of the first, see `share_compilation`.
        packing: "devices" is one run a device, "vmapped" all of them on the first.
        configs: of the runs, equal in their `program_digest`.
        directories: the run directory of each.
        logs: a text file for what each run says.

    Returns:
        For each run the error that ended it, in the words that `train` raises, or None.

    Raises:
        BadInput: what `train` raises it for, and runs that are at different updates.
        Stopped: a signal came, and all runs are saved.
    """
    pack = Pack(together(packing))
    try:
        for config, directory, log in zip(configs, directories, logs, strict=True):
            pack.recorders.append(open_run(build, config, directory, log=log)[0])
            pack.failed.append(None)
        pack.train(build, {"packing": packing, "runs": len(configs)})
    except OSError as error:
        raise disk_error(error, directories[0]) from error
    finally:
        for recorder in pack.recorders:
            recorder.close()
    return pack.failed


class Pack:
    """The runs of a pack: a `Recorder` for each, and the hooks of the loop that call all of them."""

    def __init__(self, together: Together):
        self.together, self.recorders, self.failed = together, list[Recorder](), list[str | None]()

    def train(self, build: Build, lineage: dict[str, Any]) -> None:
        """Restore or initialise, train, and leave a sealed checkpoint of each run."""
        run, experiment = self.recorders[0].config.run, self.recorders[0].experiment
        began = [begin_run(recorder, build, lineage | {"run": at}) for at, recorder in enumerate(self.recorders)]
        starts = sorted({start for _, start in began})
        if len(starts) > 1:
            raise BadInput(f"the runs of a pack are at different updates ({starts}): train them one after another")
        start, stop, states = starts[0], run.steps, self.together.place([state for state, _ in began])
        self.meter = Meter(self.record, run.log_every, start, experiment.throughput, watch=self.watch)
        data: Any = Batches([recorder.experiment.train_data for recorder in self.recorders])
        stream = batches(data, start, stop, put=self.together.put)

        if start:
            self.evaluate(states, start)  # what a signal had cut short

        def save(states: Any, completed: int) -> None:
            if completed < stop:  # the last one follows the last evaluation, in `finish`
                self.meter.flush()
                self.for_each(Recorder.save)(states, completed)

        with Interrupt() as interrupt:

            def evaluate(states: Any, completed: int) -> None:
                with interrupt.leaving():
                    self.evaluate(states, completed)

            hooks = [
                evaluate,
                every(run.save_every, save),
                lambda states, completed: self.check_saves(),
                lambda states, completed: None if self.live_runs() else "every run has failed",
                lambda states, completed: interrupt.check(),
            ]
            step = compile_by_shape(self.compile)
            states, completed, _ = fit(step, states, stream, self.meter, start=start, stop=stop, hooks=hooks)
            with interrupt.leaving():
                if completed == stop:
                    self.for_each(lambda recorder, state, at: recorder.finish(state, at, None))(states, completed)
            self.for_each(Recorder.ensure_saved)(states, completed)
            interrupt.raise_stopped()

    def evaluate(self, states: Any, completed: int) -> None:
        """Make the evaluations that are due, run by run."""

        def evaluate(recorder: Recorder, state: Any, at: int) -> None:
            if names := recorder.due(at):
                recorder.evaluate(names, state, at)

        if any(recorder.due(completed) for recorder in self.recorders):
            self.for_each(evaluate)(states, completed)

    def for_each(self, hook: Callable[[Recorder, Any, int], Any]) -> Callable[[Any, int], None]:
        """Return a hook of the loop that calls `hook` for every live run with its own state."""

        def call(states: Any, completed: int) -> None:
            for run in self.live_runs():
                hook(self.recorders[run], self.together.take(states, run), completed)

        return lambda states, completed: self.meter.untimed(lambda: call(states, completed))

    def live_runs(self) -> list[int]:
        """Return which runs have not failed."""
        return [run for run, why in enumerate(self.failed) if why is None]

    def check_saves(self) -> None:
        """Raise the error of a save in the background, if one failed."""
        for run in self.live_runs():
            self.recorders[run].checkpoints.check()

    def compile(self, states: Any, batches: Any) -> Any:
        """Compile the step ahead of time, and say how long it took."""
        began = time.perf_counter()
        step = self.recorders[0].experiment.step
        program = self.meter.untimed(lambda: self.together.compile(step, states, batches))
        for recorder in self.recorders:
            recorder.say(f"compiled in {time.perf_counter() - began:.1f} s for {len(self.recorders)} runs")
        return program

    def watch(self, completed: int, metrics: Metrics) -> None:
        """Note which runs have stopped being finite."""
        if "halted" in metrics and np.asarray(metrics["halted"].total).any():
            for run in self.live_runs():
                try:
                    raise_where_halted(completed, of_run(metrics, run))
                except BadInput as error:
                    self.failed[run] = str(error)

    def record(self, completed: int, sums: Metrics, times: dict[str, float]) -> None:
        """Write a record of training to each live run; the times are the pack's."""
        for run in self.live_runs():
            self.recorders[run].record(completed, of_run(sums, run), dict(times))


def of_run(metrics: Metrics, run: int) -> Metrics:
    """Return the metrics of one run out of those with a leading axis of runs."""
    return jax.tree.map(lambda x: x[run].item() if x.ndim == 1 else x[run], metrics)


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of several runs, by update."""

    runs: Sequence[Data]

    def __getitem__(self, index: int) -> list[Batch]:
        return [data[index] for data in self.runs]
