"""Train a run from the command line: check everything, then write, then train."""

import inspect
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from jaxlm.data.loader import batches
from jaxlm.errors import BadInput, Diverged, is_out_of_memory
from jaxlm.interrupt import Interrupt, Stopped, run_process
from jaxlm.parallel import Placement
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.code import check_program
from jaxlm.runs.directory import RunDirectory, default_directory
from jaxlm.runs.files import disk_error
from jaxlm.runs.lineage import command, describe
from jaxlm.runs.settings import Run
from jaxlm.steps.transforms import repeat
from jaxlm.train.config import parse_command
from jaxlm.train.experiment import Build, check_experiment, moved_rate, out_of_memory, spending
from jaxlm.train.init_from import LoadedWeights
from jaxlm.train.loop import compile_by_shape, every, fit
from jaxlm.train.meter import Meter
from jaxlm.train.recorder import Recorder, Stop, compose

Ended = Literal["finished", "stopped", "interrupted"]


class Outcome(NamedTuple):
    """How a call of `train` ended.

    Attributes:
        state: the last one.
        completed: updates completed.
        ended: "finished" at `run.steps`, "stopped" by patience or `stop`, or "interrupted" by a signal.
        reason: why it was stopped, or the name of the signal; None where it finished.
        signal: the name of a signal that came, even if the run came to its end all the same.
    """

    state: Any
    completed: int
    ended: Ended
    reason: str | None
    signal: str | None = None

    def raise_stopped(self) -> None:
        """Raise `Stopped` where a signal came, for a command that has more to do than this run."""
        if self.signal is not None:
            raise Stopped(signal.Signals[self.signal])


def main(build: Build) -> None:
    """Run the command line of an experiment file: CONFIG and overrides. See `train_command`."""
    command_line = partial(train_command, build, sys.argv[1:], f"python {sys.argv[0]}")
    if build.__module__ == "__main__":
        run_process(command_line)
    command_line()


def train_command(build: Build, words: list[str], program: str) -> None:
    """Train a config with overrides.

    Exits with 2 and one line on bad input, and with 128 + the number of a signal that stopped the run.

    Args:
        build: (config, place) -> Experiment.
        words: the path or name of a config, and overrides.
        program: what was typed before them, for messages.
    """
    keep_compiled_programs()
    try:
        config_file, config = parse_command(words, program, source_file(build))
        train_directory(build, config, config.run.directory or default_directory(config_file, config))
    except BadInput as error:
        sys.exit(print_error(error))


def train_directory(build: Build, config: Any, directory: str | Path) -> None:
    """Train a run as a command does: see `train` for the arguments.

    Exits with 128 + the number of a signal that stopped the run.

    Raises:
        BadInput: what `train` raises it for; of a run that diverged, with the command that goes on from a checkpoint.
    """
    try:
        outcome = train(build, config, directory)
    except Diverged as error:
        raise Diverged(f"{error}; {advise_fork(Path(directory), config)}") from error
    if outcome.ended == "interrupted":
        sys.exit(128 + signal.Signals[str(outcome.reason)])


def advise_fork(directory: Path, config: Any) -> str:
    """Say how a run that diverged can go on with other settings."""
    steps, rate = Checkpoints(directory / "checkpoints").steps(), getattr(config.optim, "peak_lr", None)
    if not steps:
        return "it has no checkpoint: begin again in another --run.directory, with a lower rate and --run.save-every"
    lower = "" if rate is None else f" --optim.peak-lr {rate / 4:.2g}"
    words = shlex.join(map(str, [directory, f"{directory}-fork"]))
    return f"go on from its last checkpoint with a lower rate: jaxlm fork {words} --step {steps[-1]}{lower}"


def keep_compiled_programs() -> None:
    """Keep compiled programs in the user's cache folder, so that a second start of the same run takes seconds.

    JAX_COMPILATION_CACHE_DIR chooses another folder; an empty value turns it off.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "jaxlm" / "compiled"))


def print_error(error: BadInput) -> int:
    """Print the one line of a user's mistake and return the exit code."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


def train(build: Build, config: Any, directory: str | Path, stop: Stop | None = None) -> Outcome:
    """Train a run to `config.run.steps` updates, from its newest checkpoint in a directory if there is one.

    Args:
        build: (config, place) -> Experiment.
        config: of the run.
        directory: of the run.
        stop: called at the start and at each evaluation, with all records of the run so far, none at first; a reason
            that it returns ends the run there.

    Raises:
        BadInput: for what cannot run, before anything is written; for updates that stay non-finite; for a full disk;
            for memory that is used up.
    """
    try:
        recorder, before = open_run(build, config, directory, stop=stop)
    except OSError as error:
        raise disk_error(error, Path(directory)) from error
    try:
        state, start = begin_run(recorder, build)
        if before is not None and start:
            say_changes(recorder, build, before, start)
        with Interrupt() as interrupt:
            return run_updates(recorder, state, start, interrupt)
    except OSError as error:
        raise disk_error(error, recorder.run_dir.path) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        recorder.close()
        if before is None and not recorder.checkpoints.steps():  # a smaller run may have this directory
            shutil.rmtree(recorder.run_dir.path)
        raise out_of_memory(error, recorder.experiment, recorder.shapes(), config) from error
    finally:
        recorder.close()


def open_run(
    build: Build, config: Any, directory: str | Path, *, stop: Stop | None = None, log: TextIO | None = None
) -> tuple[Recorder, Any]:
    """Compose a run and check it before anything is written.

    Returns:
        Its recorder, and the config that its directory has from an earlier session, or None.
    """
    config.run.validate()
    experiment, place = compose(build, config)
    check_experiment(experiment, config.run, place)
    run_dir = RunDirectory(directory)
    before = run_dir.check(config, experiment.fingerprints(), experiment.artefacts)
    if before is not None:
        check_program(run_dir.path, run_dir.experiment, source_file(build))
    check_length(run_dir, config.run)
    return Recorder(experiment, config, place, run_dir, stop=stop, log=log), before


def begin_run(recorder: Recorder, build: Build, lineage: Mapping[str, Any] | None = None) -> tuple[Any, int]:
    """Write what a run directory begins with, and restore or initialise.

    Args:
        recorder: of the run.
        build: what composed it, whose file is kept.
        lineage: further fields of the session.

    Returns:
        The state to go on from and its number of updates.
    """
    experiment, config = recorder.experiment, recorder.config
    has_checkpoints = bool(recorder.checkpoints.steps())
    loaded = LoadedWeights() if has_checkpoints else recorder.load()
    session = describe(recorder.place, experiment.fingerprints(), config.run.seed) | dict(lineage or {})
    session |= ({"init": loaded.lineage} if loaded.lineage else {}) | spending(experiment)
    recorder.run_dir.begin(config, session, source_file(build), experiment.artefacts)
    return recorder.begin(loaded)


def source_file(build: Build) -> Path:
    """Return the experiment file that defines a `build`."""
    return Path(inspect.getfile(inspect.unwrap(build)))


def run_updates(recorder: Recorder, state: Any, start: int, interrupt: Interrupt) -> Outcome:
    """Train from `start` to the end, to a reason to stop, or to a signal."""
    run, place, experiment = recorder.config.run, recorder.place, recorder.experiment
    early = recorder.stop_reason()  # a run that stopped early stays so; an import stops before its first update
    if early is None and start and (names := recorder.due(start)):
        early = recorder.evaluate(names, state, start)  # which a signal had cut short
    stop = run.steps if early is None else start
    program = place.compile(repeat(experiment.step, run.repeat) if run.repeat > 1 else experiment.step)
    meter = Meter(recorder.record, run.log_every, start, experiment.throughput)

    def evaluate(state: Any, completed: int) -> str | None:
        with interrupt.leaving():
            if names := recorder.due(completed):
                return meter.untimed(lambda: recorder.evaluate(names, state, completed))
        return None

    def save(state: Any, completed: int) -> None:
        if completed < stop:  # the last one follows the last evaluation, in `finish`
            meter.flush()
            meter.untimed(lambda: recorder.save(state, completed))

    def preview(state: Any, completed: int) -> None:
        if completed < stop:
            meter.untimed(lambda: recorder.preview(state, completed))

    hooks = [
        evaluate,
        every(run.save_every, save),
        every(run.preview_every, preview),
        lambda state, completed: recorder.checkpoints.check(),
        lambda state, completed: recorder.tick(completed),
        lambda state, completed: interrupt.check(),
    ]
    step = compile_by_shape(partial(compile_step, program, meter, recorder))
    batches_ = stream(experiment.train_data, start, stop, run, place)
    state, completed, why = fit(step, state, batches_, meter, start=start, stop=stop, stride=run.repeat, hooks=hooks)
    if why is None or why != interrupt.signal or completed == stop:
        reason = early or (why if why != interrupt.signal else None)
        with interrupt.leaving():
            recorder.finish(state, completed, reason)
            return Outcome(state, completed, "finished" if reason is None else "stopped", reason, interrupt.signal)
    recorder.ensure_saved(state, completed)
    recorder.say(f"{interrupt.signal}: saved at update {completed} of {stop}; go on with: {command()}")
    return Outcome(state, completed, "interrupted", interrupt.signal, interrupt.signal)


def stream(data: Any, start: int, stop: int, run: Run, place: Placement) -> Iterator[Any]:
    """Return the batches of updates `start` to `stop` on the devices, in tuples where a call makes several updates."""
    single = batches(data, start, stop, put=place.put, workers=run.workers)
    return zip(*[single] * run.repeat, strict=True) if run.repeat > 1 else single


def compile_step(program: Any, meter: Meter, recorder: Recorder, state: Any, batch: Any) -> Any:
    """Compile the step ahead of time, and print how long it took."""
    recorder.say("compiling the step")
    began = time.perf_counter()
    compiled = meter.untimed(lambda: program.lower(state, batch).compile())
    recorder.say(f"compiled in {time.perf_counter() - began:.1f} s")
    return compiled


def say_changes(recorder: Recorder, build: Build, before: Any, step: int) -> None:
    """Print what is not as it was in the session before, at the update where a run goes on.

    Args:
        recorder: of the run.
        build: what composed it.
        before: the config of the session before.
        step: updates completed.
    """
    length, now = before.run.steps, recorder.config.run.steps
    if length != now and (moved := moved_rate(build(before, recorder.place), recorder.experiment, length, now, step)):
        recorder.say(f"run.steps {length} is now {now}: {moved}")
    there, here = (session["fingerprint"] for session in recorder.run_dir.lineage()["sessions"][-2:])
    changed = [f"{name} {there.get(name)} is now {here[name]}" for name in here if there.get(name) != here[name]]
    if changed:
        recorder.say(f"{', '.join(changed)}: from update {step} on, numbers are equal to rounding and not in every bit")


def check_length(run_dir: RunDirectory, run: Run) -> None:
    """Check that the run in a directory is not longer already than `run.steps`.

    Raises:
        BadInput: it is.
    """
    steps = Checkpoints(run_dir.checkpoints).steps()
    if steps and steps[-1] > run.steps:
        raise BadInput(
            f"{run_dir.path} has {steps[-1]} updates already, more than run.steps {run.steps}: "
            "raise --run.steps or give another --run.directory"
        )
