"""What an experiment file's `build(config, place)` returns: the pure functions that a run is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxlm.errors import BadInput, one_line
from jaxlm.parallel import Placement, Rules
from jaxlm.privacy import PrivacyPlan
from jaxlm.runs.directory import CLASSES, parse_class_names
from jaxlm.runs.settings import COMPOSED, Run
from jaxlm.steps import StepFn, compute
from jaxlm.train.evaluate import Evaluation
from jaxlm.train.init_from import InitFrom


@dataclass(frozen=True)
class Experiment:
    """A run, composed and not started.

    Attributes:
        init: key -> state.
        step: (state, batch) -> (state, metrics), see `jaxlm.steps`.
        train_data: batch i feeds update i -> i + 1.
        evaluations: name -> `Evaluation`; the metrics of the one called "eval" are "eval/loss" and so on, and
            `run.metric` names one of any evaluation.
        throughput: what one batch counts and its unit, such as (4096, "tokens").
        flops: floating-point operations of one update, for the utilisation of chips whose peak is known.
        learning_rate: update count -> learning rate, to say how a changed length moves the curve.
        hyperparameters: name -> value of those that the state has beside the optimizer's (`train.hyperparameters`),
            set after `init`; runs that differ only in these and in the optimizer's can share a program.
        init_from: weights of another run or model that are loaded before the first update.
        rules: how leaves of the state are sharded, by path, see `Placement.with_rules`.
        composes: names of the options in `runs.settings.COMPOSED` that the step follows, and "privacy" where it follows
            that; others are refused.
        privacy: of a private run, what it spends.
        log_lines: lines printed at the start of a session, such as what of the data was cut.
        preview: state -> files by name, text or bytes (PNG, WAV), written to `previews/` with the update in their name.
        artefacts: file name -> text kept with the run, such as the tokenizer.
    """

    init: Callable[[jax.Array], Any]
    step: StepFn
    train_data: Any
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    throughput: tuple[int, str] | None = None
    flops: float | None = None
    learning_rate: Callable[[int], Any] | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    init_from: InitFrom = field(default_factory=InitFrom)
    rules: Rules = ()
    composes: tuple[str, ...] = ()
    privacy: PrivacyPlan | None = None
    log_lines: Sequence[str] = ()
    preview: Callable[[Any], Mapping[str, str | bytes]] | None = None
    artefacts: Mapping[str, str] = field(default_factory=dict)

    def class_names(self) -> tuple[str, ...] | None:
        """Return the names of the classes of the data, by index, or None where the data have no classes."""
        return parse_class_names(self.artefacts.get(CLASSES))

    def fingerprints(self) -> dict[str, str]:
        """Return the digest of the training data and of the data of each evaluation, by name."""
        evaluated = {name: evaluation.data.fingerprint() for name, evaluation in self.evaluations.items()}
        return {"train": self.train_data.fingerprint(), **evaluated}


Build = Callable[[Any, Placement], Experiment]


def check_experiment(experiment: Experiment, run: Run, place: Placement) -> None:
    """Check that an experiment can be run as `run` says; raises BadInput where it cannot."""
    check_composed(experiment, run)
    check_evaluations(experiment, run)
    check_shapes(experiment, run, place)


def check_composed(experiment: Experiment, run: Run) -> None:
    """Check that the experiment composes every option of the run that is not at its default.

    Raises:
        BadInput: an option that would be ignored.
    """
    defaults = Run()
    for name in COMPOSED:
        value = getattr(run, name)
        if value != getattr(defaults, name) and name not in experiment.composes:
            raise BadInput(
                f"run.{name} is {value}, and this experiment does not compose it: leave it at "
                f"{getattr(defaults, name)}, or compose it in `build` and name it in `Experiment.composes`"
            )


def check_evaluations(experiment: Experiment, run: Run) -> None:
    """Raise BadInput for names that evaluations cannot have, and for a `run.metric` that none of them reports."""
    for name in experiment.evaluations:
        if "/" in name or name in ("train", "time"):
            raise BadInput(f"an evaluation is called {name!r}: a name has no slash and is not train or time")
    chosen = experiment.evaluations.get(run.metric.partition("/")[0])
    if chosen is None and (run.patience is not None or run.metric != Run().metric):
        known = ", ".join(f"{name}/..." for name in experiment.evaluations) or "none, since it has no evaluation"
        raise BadInput(f"run.metric {run.metric} is of no evaluation of this experiment: choose one of {known}")
    if chosen is not None and run.metric != Run().metric:
        reported = metric_names(experiment, run.metric.partition("/")[0])
        if reported and run.metric not in reported:
            names = ", ".join(sorted(reported))
            raise BadInput(f"no evaluation reports run.metric {run.metric}: choose one of {names}")
    every = None if chosen is None else chosen.every
    if run.patience is not None and every is not None and (not every or every % run.save_every):
        raise BadInput(
            f"run.patience keeps the best checkpoint by {run.metric}, which is measured every {every} updates: make "
            f"that a multiple of run.save_every {run.save_every} and not 0, or choose another run.metric"
        )


def metric_names(experiment: Experiment, name: str) -> tuple[str, ...]:
    """Return what an evaluation will report, such as ("eval/loss",), without running it.

    None are known before the first evaluation where the host scores, or where a metric has no value without examples.
    """
    evaluation = experiment.evaluations[name]
    if evaluation.score is not None:
        return ()
    data = evaluation.data.with_keys() if hasattr(evaluation.data, "with_keys") else evaluation.data
    state = jax.eval_shape(experiment.init, jax.random.key(0))
    sums = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(evaluation.outputs, state, dict(data[0])))
    try:
        with np.errstate(all="ignore"):
            return tuple(compute(sums, f"{name}/"))
    except ArithmeticError:
        return ()


def check_shapes(experiment: Experiment, run: Run, place: Placement) -> None:
    """Check that batches divide over micro-batches and devices.

    Raises:
        BadInput: one does not.
    """
    sets = {name: (evaluation.data, 1) for name, evaluation in experiment.evaluations.items()}
    for name, (data, parts) in {"train": (experiment.train_data, run.accumulate), **sets}.items():
        size = getattr(data, "batch", len(next(iter(data[0].values()))))  # where batches differ, all have a multiple
        if size % (parts * place.devices):
            raise BadInput(
                f"the {name} batch of {size} does not divide into {parts} micro-batches on {place.devices} devices: "
                f"take a multiple of {parts * place.devices}"
            )


def spending(experiment: Experiment) -> dict[str, Any]:
    """Return the "privacy" entry of a session's lineage; nothing where the run is not private."""
    return {} if experiment.privacy is None else {"privacy": experiment.privacy.lineage()}


def moved_rate(before: Experiment, experiment: Experiment, length: int, now: int, step: int) -> str | None:
    """Say how the learning rate at an update moves where a run of `length` updates becomes one of `now`."""
    old, new = before.learning_rate, experiment.learning_rate
    if old is None or new is None:
        return None
    return (
        f"the learning rate at update {step} was {float(old(step)):.3g}, falling to {float(old(length)):.3g} at "
        f"{length}; it is now {float(new(step)):.3g}, falling to {float(new(now)):.3g} at {now}"
    )


def out_of_memory(error: BaseException, experiment: Experiment, shapes: Any, config: Any) -> BadInput:
    """Turn an error of memory that is used up into a line with the largest arrays and the fields that need less.

    Args:
        error: of the host or of jax.
        experiment: of the run.
        shapes: of its state, as `jax.ShapeDtypeStruct`s.
        config: of the run.
    """
    leaves = jax.tree_util.tree_leaves_with_path({"state": shapes, "batch": experiment.train_data[0]})
    sizes = {path: leaf.size * leaf.dtype.itemsize for path, leaf in leaves}
    largest = sorted(leaves, key=lambda item: -sizes[item[0]])[:3]
    names = [
        f"{jax.tree_util.keystr(path, simple=True, separator='/')} {leaf.dtype}{list(leaf.shape)} "
        f"({_bytes(sizes[path])})"
        for path, leaf in largest
    ]
    run, model = config.run, config.model
    knobs = [
        *([f"--data.batch (now {config.data.batch})"] if hasattr(config.data, "batch") else []),
        *([f"--run.accumulate (now {run.accumulate})"] if "accumulate" in experiment.composes else []),
        *(["--run.dtype bfloat16"] if "dtype" in experiment.composes and run.dtype == "float32" else []),
        *(["--model.remat"] if getattr(model, "remat", True) is False else []),
        "--place.kind mesh --place.fsdp N on N devices",
        "a smaller --model",
    ]
    return BadInput(
        f"out of memory ({one_line(error)}): state and batch are {_bytes(sum(sizes.values()))} without activations, "
        f"and the largest arrays are {', '.join(names)}; what needs less: {', '.join(knobs)}"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
