"""Several runs trained as one program: runs that differ only in what their states hold."""

import dataclasses
import inspect
import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.protocol import Batch, Data
from jaxlm.errors import BadInput
from jaxlm.optim import Spec, set_hyperparameters
from jaxlm.parallel import Placement
from jaxlm.steps import Metrics, compute
from jaxlm.steps.transforms import Packing, over_runs
from jaxlm.train.experiment import Build, Experiment
from jaxlm.train.interrupt import Interrupt
from jaxlm.train.lineage import describe
from jaxlm.train.loop import Meter, ahead, every, fit, measure, raise_where_halted, shapes_of
from jaxlm.train.main import Session, check_shapes, not_written
from jaxlm.train.progress import Lines, tensorboard
from jaxlm.train.run_directory import RunDirectory
from jaxlm.train.serialise import digest, flatten, to_json
from jaxlm.train.start import with_noise

SEEDS = ("run.seed", "run.init_seed", "run.data_seed", "run.noise_seed")
TRACED = (*SEEDS, "run.directory", "optim.peak", "optim.decay")  # what no program depends on


def program_digest(config: Any) -> str | None:
    """What configs share whose runs can be one program; None where a run needs a program and a process of its own."""
    run, optim = config.run, config.optim
    together = config.place.kind == "local" and isinstance(optim, Spec) and config.start.path is None
    if not together or run.repeat > 1 or run.patience is not None:
        return None
    return digest({name: value for name, value in flatten(to_json(config)).items() if name not in TRACED})


def sharing(build: Build, lead: Experiment) -> Build:
    """Compose runs with the step and the evaluation of `lead`, a run of the same program: jax compiles them once."""

    @wraps(build)
    def composed(config: Any, place: Placement) -> Experiment:
        return dataclasses.replace(build(config, place), step=lead.step, evaluate=lead.evaluate)

    return composed


@dataclass(frozen=True, eq=False)
class Stacked:
    """The training data of several runs: batch i holds the batches i of all of them along a leading axis."""

    runs: Sequence[Data]

    def __len__(self) -> int:
        return len(self.runs[0])

    def __getitem__(self, index: int) -> Batch:
        batches = [data[index] for data in self.runs]
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    def fingerprint(self) -> str:
        """A SHA-256 over those of the runs."""
        return digest([data.fingerprint() for data in self.runs])

    def shard(self, index: int, count: int) -> "Stacked":
        """Each run's shard."""
        return Stacked([data.shard(index, count) for data in self.runs])


class Program:
    """One step and one evaluation for all configs of one `program_digest`, traced and compiled once for each width."""

    def __init__(self, build: Build, config: Any, packing: Packing):
        self.packing = packing
        self.place = config.place.build()
        self.experiment: Experiment = build(config, self.place)
        self._compiled: dict[Any, Any] = {}

    def begin(self, config: Any) -> Any:
        """The state of a run before its first update: its own seed and hyperparameters."""
        state = self.place.init(self.experiment.init, jax.random.key(config.run.seeds.init))
        if config.run.seeds.noise != config.run.seeds.init:
            state = with_noise(state, self.experiment.init, self.place, config.run.seeds.noise)
        values = {"peak": config.optim.peak, "decay": config.optim.decay}
        return state.replace(opt_state=set_hyperparameters(state.opt_state, values))

    @cached_property
    def _step(self) -> Any:
        return self.place.compile(over_runs(self.experiment.step, self.packing))

    def step(self, states: Any, batches: Any) -> Any:
        """Run the step, compiled at the first call of so many runs and such batches."""
        return self.compiled(states, batches)(states, batches)

    def compiled(self, states: Any, batches: Any) -> Any:
        """The compiled step of as many runs as the states hold."""
        shapes = shapes_of(batches)  # they begin with the number of runs
        if shapes not in self._compiled:
            self._compiled[shapes] = self._step.lower(states, batches).compile()
        return self._compiled[shapes]

    @cached_property
    def evaluate(self) -> Any:
        """(states, batch) -> metrics with a leading axis of runs; the batch is the same for all."""

        def evaluate_runs(states: Any, batch: Any) -> Metrics:
            return over_runs(lambda state: self.experiment.evaluate(state, batch), self.packing)(states)

        return self.place.compile(evaluate_runs, donate=False)


@jax.jit
def stack(states: Sequence[Any]) -> Any:
    """States along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@jax.jit
def unstack(states: Any) -> list[Any]:
    """The inverse of `stack`."""
    runs = len(jax.tree.leaves(states)[0])
    return [jax.tree.map(operator.itemgetter(run), states) for run in range(runs)]


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
            stream = ahead(batches(data, start, settings.steps), program.place.put)
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
        return stack(states), steps.pop()

    def compile(self, states: Any, batches: Any) -> None:
        """Compile the step ahead of time, and tell how long it took."""
        began = time.perf_counter()
        self.program.compiled(states, batches)
        for session in self.sessions:
            session.say(f"compiled in {time.perf_counter() - began:.1f} s: {len(self.sessions)} runs in one program")

    def watch(self, completed: int, sums: Metrics) -> None:
        """Note which runs have stopped being finite."""
        if "halted" not in sums:
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
        stream = ahead(batches(data, 0, len(data)), self.program.place.put)
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
        self.each(states, lambda session, state: session.finish(state, completed, None))

    def each(self, states: Any, work: Any) -> None:
        """Do something for each live run and its own state."""
        parts = unstack(states)
        for lane, session in self.live:
            work(session, parts[lane])
