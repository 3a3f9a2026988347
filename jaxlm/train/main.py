"""From a command line to a finished run: check everything, then write, then train."""

import inspect
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.steps import Metrics, compute
from jaxlm.steps.transforms import repeat
from jaxlm.train.checkpoint import Checkpoints, reason
from jaxlm.train.config import Run, Seeds, parse
from jaxlm.train.experiment import Build, Experiment
from jaxlm.train.hyperparameters import set_hyperparameters
from jaxlm.train.interrupt import Interrupt
from jaxlm.train.lineage import command, describe
from jaxlm.train.loop import Meter, ahead, by_shape, every, fit, measure
from jaxlm.train.progress import Progress, brief, progress, tensorboard, utilisation
from jaxlm.train.run_directory import RunDirectory, default_directory, since_best
from jaxlm.train.start import Leaves, take_over, with_noise

Stop = Callable[[list[dict[str, Any]]], str | None]  # the records of a run -> a reason to end it


def main(build: Build) -> None:
    """The command line of an experiment file: CONFIG.py and overrides. Exits with 2 and one line on bad input."""
    keep_compiled_programs()
    try:
        config_file, config = parse(sys.argv[1:], f"python {sys.argv[0]}")
        directory = config.run.directory or default_directory(config_file, config)
        train(build, config, directory)
    except BadInput as error:
        sys.exit(complain(error))


def keep_compiled_programs() -> None:
    """Let a second start of the same run take seconds: keep compiled programs in the user's cache folder.

    JAX_COMPILATION_CACHE_DIR chooses another folder; an empty value turns it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "jaxlm" / "compiled"))


def complain(error: BadInput) -> int:
    """Print the one line of a user's mistake and return the exit code."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


def train(build: Build, config: Any, directory: str | Path, stop: Stop | None = None) -> Any:
    """Train what `build` composes to `config.run.steps` updates in a directory, from where it stands there.

    stop: asked at each evaluation, with all records of the run so far; a reason ends the run there.

    Returns the state. Raises BadInput, before anything is written, for what cannot run.
    """
    config.run.validate()
    place = config.place.build()
    experiment = build(config, place)
    shapes = check_shapes(experiment, config.run, place)
    home = RunDirectory(directory)
    data = {"train": experiment.train_data.fingerprint(), "eval": experiment.eval_data.fingerprint()}
    before = home.check(config, data, experiment.artefacts)
    check_length(home, config.run)
    leaves = {} if Checkpoints(home.checkpoints).steps() else experiment.start.leaves(shapes, config.model)
    try:
        home.begin(
            config,
            describe(place, data, config.run.seed),
            Path(inspect.getfile(inspect.unwrap(build))),
            experiment.artefacts,
        )
        session = Session(experiment, config.run, place, home, leaves)
        session.stop = stop
        if before is not None and before.run.steps != config.run.steps:
            session.moved = (build(before, place).learning_rate, before.run.steps)
        return session.run()
    except OSError as error:
        raise not_written(error, home) from error
    finally:
        home.close()


def not_written(error: OSError, home: RunDirectory) -> BadInput:
    """What lies with the machine, as one line."""
    return BadInput(f"{reason(error)} ({error.filename or home.path}): mend that and run the same command again")


def check_shapes(experiment: Experiment, run: Run, place: Placement) -> Any:
    """Check batches and trace the initialisation, so that what does not fit is told before anything is written.

    Returns the shapes of the state.
    """
    for name, data, parts in (("train", experiment.train_data, run.accumulate), ("eval", experiment.eval_data, 1)):
        size = len(next(iter(data[0].values())))
        if size % (parts * place.devices):
            raise BadInput(
                f"the {name} batch of {size} does not divide into {parts} micro-batches on {place.devices} devices: "
                f"take a multiple of {parts * place.devices}"
            )
    return jax.eval_shape(experiment.init, jax.random.key(run.seed))


def check_length(home: RunDirectory, run: Run) -> None:
    """Raise BadInput where a run has more updates already than are asked for."""
    steps = Checkpoints(home.checkpoints).steps()
    if steps and steps[-1] > run.steps:
        raise BadInput(
            f"{home.path} has {steps[-1]} updates already, more than run.steps {run.steps}: "
            "raise --run.steps or give another --run.directory"
        )


def initialise(experiment: Experiment, place: Placement, seeds: Seeds) -> Any:
    """The state of a run before its first update: of its own seeds and hyperparameters."""
    state = place.init(experiment.init, jax.random.key(seeds.init))
    if seeds.noise != seeds.init:
        state = with_noise(state, experiment.init, place, seeds.noise)
    return set_hyperparameters(state, experiment.hyperparameters)


class Session:
    """One session of a run, from its start or a checkpoint to its end or a signal: what the hooks share."""

    def __init__(self, experiment: Experiment, run: Run, place: Placement, home: RunDirectory, leaves: Leaves):
        self.experiment, self.settings, self.place, self.home = experiment, run, place, home
        self.leaves = leaves  # what a new run takes over
        self.stop: Stop | None = None  # what may end the run beside patience
        self.moved: tuple[Any, int] | None = None  # learning rate and length of the run before, where they differ
        self.checkpoints = Checkpoints(home.checkpoints, run.keep_last, run.keep_best, run.metric, run.maximize)
        self.shown: list[Progress] = []
        self.latest: tuple[int, dict[str, float]] = (0, {})  # the last evaluation, and when

    def run(self) -> Any:
        """Restore or initialise, train, and leave a sealed checkpoint."""
        state, start = self.begin()
        stop = self.settings.steps
        self.trained_from = start
        self.home.truncate_metrics(start)
        self.latest = (start, self.home.evaluation_at(start))
        self.shown = [progress(stop, start), *tensorboard(self.home.path / "tensorboard", start)]
        for note in self.experiment.notes:
            self.say(note)
        try:
            with Interrupt() as interrupt:
                return self.train(state, start, stop, interrupt)
        finally:
            self.checkpoints.close()
            for shown in self.shown:
                shown.close()

    def begin(self) -> tuple[Any, int]:
        """The state to go on from and its number of updates."""
        self.checkpoints.tidy()
        step = self.checkpoints.newest_whole()
        seeds = self.settings.seeds
        if step is None:
            began = time.perf_counter()
            state = jax.block_until_ready(initialise(self.experiment, self.place, seeds))
            print(f"initialised in {time.perf_counter() - began:.1f} s", flush=True)
            if self.leaves:
                state = take_over(state, self.leaves)
                print(f"{len(self.leaves)} arrays taken over from {self.experiment.start.path}", flush=True)
            return state, 0
        self.tell_moved_schedule(step)
        template = self.place.layout(jax.eval_shape(self.experiment.init, jax.random.key(seeds.init)))
        state = self.checkpoints.restore(step, template)
        print(f"going on from update {step} of {self.home.path}", flush=True)
        return state, step

    def tell_moved_schedule(self, step: int) -> None:
        """Say in one line how another length moves the learning rate, if it does."""
        if self.moved is None or self.experiment.learning_rate is None:
            return
        (old, before), new, now = self.moved, self.experiment.learning_rate, self.settings.steps
        print(
            f"run.steps {before} is now {now}: the learning rate at update {step} was {float(old(step)):.3g}, "
            f"falling to {float(old(before)):.3g} at {before}; it is now {float(new(step)):.3g}, "
            f"falling to {float(new(now)):.3g} at {now}"
        )

    def train(self, state: Any, start: int, stop: int, interrupt: Interrupt) -> Any:
        """Train from `start` to `stop` or to a signal."""
        settings, place, experiment = self.settings, self.place, self.experiment
        from jaxlm.data.loader import batches

        over = self.over()  # a run that stopped early stays as it is when it is started again
        stop = stop if over is None else start
        stride = settings.repeat
        single = ahead(batches(experiment.train_data, start, stop, workers=settings.workers), place.put)
        grouped = zip(*[single] * stride, strict=True) if stride > 1 else single
        program = place.compile(repeat(experiment.step, stride) if stride > 1 else experiment.step)
        self.evaluate = place.compile(experiment.evaluate, donate=False)
        self.meter = Meter(self.record, settings.log_every, start, experiment.units)
        hooks = [
            every(settings.eval_every, self.evaluation),
            every(settings.save_every, self.save),
            lambda state, completed: self.checkpoints.check(),
            lambda state, completed: interrupt.signal,
        ]
        step = by_shape(partial(self.compile, program))
        state, completed, why = fit(
            step, state, grouped, self.meter, start=start, stop=stop, stride=stride, hooks=hooks
        )
        if why is not None and why == interrupt.signal and completed < stop:
            self.ensure_saved(state, completed)
            self.say(f"{why}: saved at update {completed} of {stop}; go on with: {command()}")
            return state
        self.finish(state, completed, why or over)
        return state

    def compile(self, program: Any, state: Any, batch: Any) -> Any:
        """Compile the step ahead of time, and tell how long it took."""
        began = time.perf_counter()
        compiled = self.meter.aside(lambda: program.lower(state, batch).compile())
        self.say(f"compiled in {time.perf_counter() - began:.1f} s")
        return compiled

    def finish(self, state: Any, completed: int, why: str | None) -> None:
        """Evaluate and save at the end unless that was just done, and show the result."""
        if self.latest[0] != completed or not self.latest[1]:
            self.evaluation(state, completed)
        elif self.trained_from == completed:
            self.say(brief(*self.latest))
        self.ensure_saved(state, completed)
        if why is not None:
            self.say(why)
        if self.experiment.preview is not None:
            self.say(self.experiment.preview(state))
        self.say(f"run: {self.home.path}")

    def evaluation(self, state: Any, completed: int) -> str | None:
        """Evaluate on all of the evaluation data; returns a reason to stop where there is one."""
        from jaxlm.data.loader import batches

        data = self.experiment.eval_data
        work = partial(measure, self.evaluate, state, ahead(batches(data, 0, len(data)), self.place.put))
        metrics = compute(self.meter.aside(work), "eval/")
        self.latest = (completed, metrics)
        self.emit(completed, metrics)
        return self.over()

    def over(self) -> str | None:
        """A reason to end the run where it stands: patience is at an end, or `stop` gives one."""
        records = list(self.home.metrics())
        return self.out_of_patience(records) or (self.stop(records) if self.stop else None)

    def out_of_patience(self, records: list[dict[str, Any]]) -> str | None:
        """A reason to stop when the last evaluations were no better than the best before them."""
        settings = self.settings
        since = since_best(records, settings)
        if settings.patience is None or since < settings.patience:
            return None
        return f"stopped early: {settings.metric} has not improved for {since} evaluations"

    def save(self, state: Any, completed: int) -> None:
        """Seal a checkpoint in the background, with the metrics of an evaluation at the same update."""
        self.meter.flush()
        metrics = self.latest[1] if self.latest[0] == completed else {}
        self.meter.aside(lambda: self.checkpoints.save(completed, state, metrics))

    def ensure_saved(self, state: Any, completed: int) -> None:
        """Wait for a sealed checkpoint of this update, and make it if no hook did."""
        self.begin_saving(state, completed)
        self.checkpoints.wait()

    def begin_saving(self, state: Any, completed: int) -> None:
        """Seal a checkpoint of this update in the background, if no hook did."""
        self.checkpoints.wait()
        if completed not in self.checkpoints.steps():
            self.save(state, completed)

    def record(self, completed: int, sums: Metrics, times: dict[str, float]) -> None:
        """Write a record of training."""
        device = jax.devices()[0]
        times |= utilisation(self.experiment.flops, times["time/step"], device.device_kind, self.place.devices)
        self.emit(completed, compute(sums, "train/") | times)

    def emit(self, completed: int, metrics: dict[str, float]) -> None:
        """Write a record to the run directory and show it."""
        self.home.append_metrics(completed, metrics)
        for shown in self.shown:
            shown.record(completed, metrics)

    def say(self, text: str) -> None:
        """Show a line."""
        self.shown[0].say(text)
