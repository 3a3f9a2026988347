"""Keep a run: its directory, checkpoints, records, progress and evaluations."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax

from jaxlm.data.first import FirstBatches
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.runs.directory import RunDirectory, best_record, since_best
from jaxlm.runs.load import load_module
from jaxlm.runs.settings import Run
from jaxlm.runs.weights import Leaves, load_into, open_checkpoints
from jaxlm.steps import Metrics, compute
from jaxlm.train.evaluate import Evaluator
from jaxlm.train.experiment import Build, Experiment
from jaxlm.train.init_from import LoadedWeights, initialise
from jaxlm.train.progress import Progress, brief, progress, start_lines, tensorboard, utilisation

Stop = Callable[[list[dict[str, Any]]], str | None]  # the records of a run -> a reason to end it


def compose(build: Build, config: Any) -> tuple[Experiment, Placement]:
    """Build the experiment of a config, and the placement that its states live in."""
    place = config.place.build()
    experiment = build(config, place)
    if getattr(config, "privacy", None) is not None and "privacy" not in experiment.composes:
        raise BadInput(
            "this experiment does not compose privacy: leave it out, or train a classifier of images or texts"
        )
    if config.run.overfit:
        experiment = dataclasses.replace(experiment, train_data=FirstBatches(experiment.train_data, config.run.overfit))
    return experiment, place.with_rules(experiment.rules)


class Recorder:
    """One run's directory, checkpoints, records, progress and evaluations.

    `train` has one, a pack one for each of its runs; `eval`, `bisect` and `verify` open one of a run that exists.

    Args:
        experiment: the composed run.
        config: its config.
        place: where its states live.
        run_dir: its directory.
        stop: called at the start and at each evaluation, with all records so far; a reason it returns ends the run.
        log: a text file for what the run prints; None is standard output, with a bar on a terminal.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: Any,
        place: Placement,
        run_dir: RunDirectory,
        *,
        stop: Stop | None = None,
        log: TextIO | None = None,
    ):
        self.experiment, self.config, self.place, self.run_dir = experiment, config, place, run_dir
        self.checkpoints = open_checkpoints(run_dir, config.run, self.say)
        self._evaluator = Evaluator(experiment.evaluations, place)
        self._stop, self._log = stop, log
        self._shown: list[Progress] = []
        self._latest: tuple[int, dict[str, float]] = (0, {})  # the last evaluation, and when
        self._began_at = 0
        self._saved: int | None = None  # the update of the last checkpoint that was saved or restored

    @classmethod
    def existing(cls, path: str | Path, change: Callable[[Any], Any] | None = None) -> "Recorder":
        """Open a run that exists, with the experiment file that it kept.

        Args:
            path: of the run.
            change: makes another config of the run's own, to evaluate it on other data.

        Raises:
            BadInput: no run is there, it cannot be built here, or the other data have another tokenizer or other
                classes than the run.
        """
        run_dir = RunDirectory.existing(path)
        config = run_dir.config() if change is None else change(run_dir.config())
        experiment, place = compose(load_module(run_dir.experiment).build, config)
        for name, text in experiment.artefacts.items() if change is not None else ():
            if run_dir.artefact(name) != text:
                raise BadInput(f"these data have another {name} than {path}: change what is evaluated alone")
        return cls(experiment, config, place, run_dir)

    def shapes(self) -> Any:
        """Return the shapes and dtypes of the state."""
        return jax.eval_shape(self.experiment.init, jax.random.key(self.config.run.seeds.init))

    def restore(self, step: int) -> Any:
        """Return the state at a checkpoint, in the layout of the placement."""
        return self.checkpoints.restore(step, self.place.layout(self.shapes()))

    def fresh(self, arrays: Leaves) -> Any:
        """Return the state before the first update, with these arrays loaded into it."""
        state = initialise(self.experiment, self.place, self.config.run.seeds)
        return load_into(state, arrays) if arrays else state

    def load(self) -> LoadedWeights:
        """Load what the run takes from elsewhere, see `InitFrom.load`."""
        return self.experiment.init_from.load(self.shapes(), self.config.model, self.experiment.artefacts)

    def begin(self, loaded: LoadedWeights) -> tuple[Any, int]:
        """Restore the newest checkpoint or initialise, and open the records at that update.

        Args:
            loaded: what a new run takes from elsewhere.

        Returns:
            The state and its number of updates.
        """
        self.checkpoints.tidy()
        step = self.checkpoints.newest_whole()
        self._open(step or 0)
        began = time.perf_counter()
        if step is not None:
            state, self._saved = self.restore(step), step
            self.say(f"going on from update {step} of {self.run_dir.path}")
            return state, step
        state = jax.block_until_ready(self.fresh(loaded.arrays))
        self.say(f"initialised in {time.perf_counter() - began:.1f} s")
        if loaded.arrays:
            self.say(f"{len(loaded.arrays)} arrays loaded from {self.experiment.init_from.path}")
        for line in loaded.log_lines:
            self.say(line)
        return state, 0

    def _open(self, start: int) -> None:
        run, experiment = self.config.run, self.experiment
        self.run_dir.truncate_metrics(start)
        self._began_at = start
        self._latest = (start, self.run_dir.evaluation_at(start, experiment.evaluations))
        self._shown = [progress(run.steps, start, run.metric, self._log)]
        events = tensorboard(self.run_dir.path / "tensorboard", start, self.say)
        self._shown += events
        if self._log is None:
            lines = start_lines(self.run_dir.path, self.place, self.shapes(), events)
            self.say("\n".join([*lines, *experiment.log_lines]))

    def record(self, completed: int, sums: Metrics, times: dict[str, float]) -> None:
        """Write a record of training: the metrics summed since the last one, and the times."""
        device, devices = jax.devices()[0], self.place.devices
        times |= utilisation(self.experiment.flops, times["time/step"], device.device_kind, devices)
        plan = self.experiment.privacy
        spent = {} if plan is None else {"privacy/epsilon": plan.epsilon(completed)}
        self._emit(completed, compute(sums, "train/") | spent | times)

    def due(self, completed: int) -> list[str]:
        """Return the names of the evaluations whose interval ends at this update and that were not made at it."""
        run = self.config.run
        intervals = {name: e.every for name, e in self.experiment.evaluations.items()}
        chosen = {name: run.eval_every if every is None else every for name, every in intervals.items()}
        return [name for name in self.missing(completed) if (every := chosen[name]) and completed % every == 0]

    def missing(self, completed: int) -> list[str]:
        """Return the names of the evaluations that were not made at this update."""
        made = {name.partition("/")[0] for name in self._at(completed)}
        return [name for name in self.experiment.evaluations if name not in made]

    def evaluate(self, names: Iterable[str], state: Any, completed: int) -> str | None:
        """Run evaluations and write a record.

        Args:
            names: of the evaluations.
            state: of the run.
            completed: its updates.

        Returns:
            A reason to end the run, or None.

        Raises:
            BadInput: `run.metric` names none of the metrics.
            Stopped: a signal came that waits for an update; nothing is recorded, and the next session evaluates.
        """
        metrics = self._evaluator.numbers(names, state)
        self._check_metric(metrics)
        self._latest = (completed, self._at(completed) | metrics)
        self._emit(completed, metrics)
        if self._saved == completed:
            self.checkpoints.add_metrics(completed, metrics)
        return self.stop_reason()

    def sums(self, state: Any) -> dict[str, Metrics]:
        """Return the merged metrics of every evaluation, by its name, for a report that needs more than the numbers."""
        return {name: self._evaluator.sums(name, state) for name in self.experiment.evaluations}

    def numbers(self, state: Any) -> dict[str, float]:
        """Return the numbers of every evaluation, as {"eval/loss": 0.5, ...}; nothing is recorded."""
        return self._evaluator.numbers(self.experiment.evaluations, state)

    def _check_metric(self, metrics: Mapping[str, float]) -> None:
        run = self.config.run
        name, _, _ = run.metric.partition("/")
        chosen = run.patience is not None or run.metric != type(run)().metric
        if chosen and run.metric not in metrics and any(key.startswith(f"{name}/") for key in metrics):
            raise BadInput(f"no evaluation reports run.metric {run.metric}: choose one of {', '.join(sorted(metrics))}")

    def stop_reason(self) -> str | None:
        """Return why the run should end now: patience is used up, or `stop` gives a reason; None to go on."""
        records, run = list(self.run_dir.metrics()), self.config.run
        since = since_best(records, run)
        if run.patience is not None and since >= run.patience:
            return f"stopped early: {run.metric} has not improved for {since} evaluations{_not_finite(records, run)}"
        return self._stop(records) if self._stop else None

    def save(self, state: Any, completed: int) -> None:
        """Seal a checkpoint in the background, with the metrics of an evaluation at the same update."""
        self.run_dir.require_in_place()
        self.place.check_replicas(state)
        self.checkpoints.save(completed, state, self._at(completed))
        self._saved = completed

    def begin_saving(self, state: Any, completed: int) -> None:
        """Save a checkpoint of this update in the background, unless it is saved already."""
        self.checkpoints.wait()
        if self._saved != completed:
            self.save(state, completed)

    def ensure_saved(self, state: Any, completed: int) -> None:
        """Save a checkpoint of this update unless it is saved already, and wait for it."""
        self.begin_saving(state, completed)
        self.checkpoints.wait()

    def finish(self, state: Any, completed: int, reason: str | None) -> None:
        """End a run: evaluate and save what was not just evaluated and saved, and print the result."""
        try:
            if missing := self.missing(completed):
                self.evaluate(missing, state, completed)
            elif self._began_at == completed:
                self._check_metric(self._latest[1])
                self.say(brief(*self._latest, self.config.run.metric))
        finally:  # an evaluation that fails costs no training
            self.ensure_saved(state, completed)
        if reason is not None:
            self.say(reason)
        self.preview(state, completed)
        self.say_best()
        self.say(f"run: {self.run_dir.path}")

    def _at(self, completed: int) -> dict[str, float]:
        return self._latest[1] if self._latest[0] == completed else {}

    def preview(self, state: Any, completed: int) -> None:
        """Write the files of a preview to `previews/`, and print those that are text."""
        if self.experiment.preview is None:
            return
        for name, content in self.experiment.preview(state).items():
            path = self.run_dir.write_preview(f"{completed:06}-{name}", content)
            self.say(content if isinstance(content, str) else f"preview: {path}")

    def say_best(self) -> None:
        """Print the best value of `run.metric` and its update, where there was more than one evaluation."""
        run = self.config.run
        records = [record for record in self.run_dir.metrics() if run.metric in record]
        best = best_record(records, run)
        if best is not None and len(records) > 1:
            use = "use it with --step best" if self.checkpoints.best() == best["step"] else "its checkpoint is not kept"
            least = "highest" if run.higher_is_better else "lowest"
            self.say(f"best {run.metric} {best[run.metric]:.4g}, the {least}, at update {best['step']} ({use})")

    def _emit(self, completed: int, metrics: dict[str, float]) -> None:
        self.run_dir.require_in_place()
        self.run_dir.append_metrics(completed, metrics)
        for shown in self._shown:
            shown.record(completed, metrics)

    def tick(self, completed: int) -> None:
        """Move the bar on a terminal."""
        self._shown[0].tick(completed)

    def say(self, text: str) -> None:
        """Print a line."""
        if self._shown:
            self._shown[0].say(text)
        else:  # before the run begins
            print(text, file=self._log, flush=True)

    def close(self) -> None:
        """Wait for the save in the background, and close files and progress."""
        self.checkpoints.close()
        for shown in self._shown:
            shown.close()
        self.run_dir.close()


def _not_finite(records: Sequence[Mapping[str, Any]], run: Run) -> str:
    """Return words on the last evaluations, where these are not finite."""
    values = [record[run.metric] for record in records if run.metric in record]
    count = next((number for number, value in enumerate(reversed(values)) if value is not None), len(values))
    return f", and the last {count} of them are not finite" if count else ""
