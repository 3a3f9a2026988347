"""Several runs trained as one program: runs that differ only in what their states hold."""

import inspect
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jax

from jaxlm.errors import BadInput
from jaxlm.steps import Metrics, compute
from jaxlm.train.experiment import Build
from jaxlm.train.interrupt import Interrupt
from jaxlm.train.lineage import describe
from jaxlm.train.loop import Meter, ahead, every, fit, measure, raise_where_halted
from jaxlm.train.main import Session, check_shapes, not_written
from jaxlm.train.program import Program, Stacked, stack, unstack
from jaxlm.train.progress import Lines, tensorboard
from jaxlm.train.run_directory import RunDirectory


def lanes(sums: Metrics, count: int) -> Iterator[Metrics]:
    """The metrics of each run out of those with a leading axis of runs, on the host."""
    for lane in range(count):
        yield jax.tree.map(lambda x, lane=lane: x[lane].item() if x.ndim == 1 else x[lane], sums)


def train_pack(
    program: Program, build: Build, configs: Sequence[Any], directories: Sequence[Path], logs: Sequence[Any]
) -> list[str | None]:
    """Train runs of one program to their end, from the update at which they all stand; each in its own directory.

    A run whose numbers stop being finite ends there, and the others go on. Returns for each run what ended it, as
    `train` would raise it, or None. After a signal all are saved, and none is complete.

    logs: for each run, a text file for what it tells.

    Raises BadInput for what `train` raises it for.
    """
    pack = Pack(program, configs)
    try:
        pack.prepare(build, directories)
        pack.run(logs)
    except OSError as error:
        raise not_written(error, RunDirectory(directories[0])) from error
    finally:
        for session in pack.sessions:
            session.checkpoints.close()
            session.home.close()
            for shown in session.shown:
                shown.close()
    return pack.failed


class Pack:
    """What the hooks of a pack share: a `Session` for each run keeps its directory, its checkpoints and its log."""

    def __init__(self, program: Program, configs: Sequence[Any]):
        self.program, self.configs = program, configs
        self.failed: list[str | None] = [None] * len(configs)
        self.sessions: list[Session] = []

    def prepare(self, build: Build, directories: Sequence[Path]) -> None:
        """Check every run as `train` does, and begin its directory."""
        place, source = self.program.place, Path(inspect.getfile(inspect.unwrap(build)))
        lineage = describe(place, {}, 0) | {"packing": self.program.packing, "runs": len(self.configs)}
        for config, directory in zip(self.configs, directories, strict=True):
            config.run.validate()
            experiment = build(config, place)
            check_shapes(experiment, config.run, place)
            home = RunDirectory(directory)
            data = {"train": experiment.train_data.fingerprint(), "eval": experiment.eval_data.fingerprint()}
            home.check(config, data, experiment.artefacts)
            self.sessions.append(Session(experiment, config.run, place, home, {}))
            home.begin(config, lineage | {"data": data, "seed": config.run.seed}, source, experiment.artefacts)

    @property
    def live(self) -> list[tuple[int, Session]]:
        """The runs that have not failed."""
        return [(lane, session) for lane, session in enumerate(self.sessions) if self.failed[lane] is None]

    def run(self, logs: Sequence[Any]) -> None:
        """Restore or initialise, train, and leave a sealed checkpoint of each run."""
        from jaxlm.data.loader import batches

        settings, program = self.configs[0].run, self.program
        states, start = self.begin()
        for session, log in zip(self.sessions, logs, strict=True):
            session.home.truncate_metrics(start)
            session.trained_from = start
            session.latest = (start, session.home.evaluation_at(start))
            session.shown = [Lines(log), *tensorboard(session.home.path / "tensorboard", start)]
        data = Stacked([session.experiment.train_data for session in self.sessions])
        with Interrupt() as interrupt:
            hooks = [
                every(settings.eval_every, self.evaluation),
                every(settings.save_every, self.save),
                lambda states, completed: None if self.live else "every run has failed",
                lambda states, completed: interrupt.signal,
            ]
            stream = ahead(batches(data, start, settings.steps), program.put)
            if start < settings.steps:
                first = next(stream)
                self.compile(states, first)
                stream = chain([first], stream)
            self.meter = Meter(self.record, settings.log_every, start, program.experiment.units, watch=self.watch)
            for session in self.sessions:
                session.meter = self.meter
            states, completed, _ = fit(
                program.step, states, stream, self.meter, start=start, stop=settings.steps, hooks=hooks
            )
            if completed == settings.steps:
                self.finish(states, completed)
            else:
                self.each(states, lambda session, state: session.begin_saving(state, completed))
                self.each(states, lambda session, state: session.ensure_saved(state, completed))

    def begin(self) -> tuple[Any, int]:
        """The stacked states to go on from, and their number of updates."""
        states, steps = [], set()
        shapes = jax.eval_shape(self.program.experiment.init, jax.random.key(0))
        layout = self.program.place.layout(shapes)
        for session, config in zip(self.sessions, self.configs, strict=True):
            session.checkpoints.tidy()
            step = session.checkpoints.newest_whole()
            states.append(self.program.begin(config) if step is None else session.checkpoints.restore(step, layout))
            steps.add(step or 0)
        if len(steps) > 1:
            raise BadInput(f"the runs of a pack stand at different updates ({sorted(steps)}): run them apart")
        return self.program.put(stack(states)), steps.pop()

    def compile(self, states: Any, batches: Any) -> None:
        """Compile the step ahead of time, and tell how long it took."""
        began = time.perf_counter()
        self.program.compiled(states, batches)
        for session in self.sessions:
            session.say(f"compiled in {time.perf_counter() - began:.1f} s: {len(self.sessions)} runs in one program")

    def watch(self, completed: int, sums: Metrics) -> None:
        """Note which runs have stopped being finite."""
        if "halted" not in sums or not sums["halted"].total.any():
            return
        for (lane, _), own in zip(self.live, self.own(sums), strict=True):
            try:
                raise_where_halted(completed, own)
            except BadInput as error:
                self.failed[lane] = str(error)

    def own(self, sums: Metrics) -> list[Metrics]:
        """The metrics of each live run."""
        parts = list(lanes(sums, len(self.sessions)))
        return [parts[lane] for lane, _ in self.live]

    def record(self, completed: int, sums: Metrics, times: dict[str, float]) -> None:
        """Write a record of training to each run; the times are the pack's."""
        for (_, session), own in zip(self.live, self.own(sums), strict=True):
            session.record(completed, own, dict(times))

    def evaluation(self, states: Any, completed: int) -> None:
        """Evaluate all runs on all of the evaluation data."""
        from jaxlm.data.loader import batches

        data = self.program.experiment.eval_data
        stream = ahead(batches(data, 0, len(data)), self.program.spread(len(self.configs)).share)
        sums = self.meter.aside(lambda: measure(self.program.evaluate, states, stream))
        for (_, session), own in zip(self.live, self.own(sums), strict=True):
            session.latest = (completed, compute(own, "eval/"))
            session.emit(*session.latest)

    def save(self, states: Any, completed: int) -> None:
        """Seal a checkpoint of each run in the background."""
        self.meter.flush()
        self.each(states, lambda session, state: session.save(state, completed))

    def finish(self, states: Any, completed: int) -> None:
        """Evaluate and save what was not just evaluated and saved."""
        if any(session.latest[0] != completed for _, session in self.live):
            self.evaluation(states, completed)
        self.each(states, lambda session, state: session.begin_saving(state, completed))  # they write side by side
        self.each(states, lambda session, state: session.finish(state, completed, None))

    def each(self, states: Any, work: Any) -> None:
        """Do something for each live run and its own state."""
        parts = unstack(states)
        for lane, session in self.live:
            work(session, parts[lane])
