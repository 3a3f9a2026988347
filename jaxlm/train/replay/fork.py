"""Fork a run: make a run that goes on from a checkpoint of another one, with other settings and its whole state."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.optim import SETTABLE
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import describe, describe_fork
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import flatten, to_json
from jaxlm.train.experiment import Build, Experiment, moved_rate
from jaxlm.train.hyperparameters import set_state_hyperparameters
from jaxlm.train.main import open_run, source_file
from jaxlm.train.recorder import Recorder, compose

SETTING = re.compile(rf"hyperparameters/.*|(.*/)?hyperparams/({'|'.join(SETTABLE)})")  # what a config sets in a state
AVERAGE = re.compile(r"(parts/[^/]+/)?ema/(.*)")  # a leaf of a state's average, or of one of several nets
STAGE = re.compile(r"/\d+(?=/)")  # the place of a transformation in `optax.chain`: clipping moves those after it


def fork_run(source: RunDirectory, step: int, config: Any, new: Path) -> list[str]:
    """Make a run directory at update `step` of another run; `train` goes on from there.

    Every leaf of the state is that of the checkpoint, in every bit, except the hyperparameters that a config sets (peak
    learning rate, weight decay, rates of dropout). An average that the other run did not keep begins at its parameters.
    Records up to `step` are copied. The directory appears whole or not at all.

    Args:
        source: the run that it goes on from.
        step: updates completed at the checkpoint.
        config: of the new run.
        new: its directory, which must not be there.

    Returns:
        Lines that say what changed.

    Raises:
        BadInput: the new run has no update left, the state does not fit its config, or one of the two is private.
    """
    if config.run.steps <= step:
        raise BadInput(f"run.steps {config.run.steps} leaves nothing to train after update {step}: raise --run.steps")
    if step % config.run.repeat:
        raise BadInput(f"update {step} is not a multiple of run.repeat {config.run.repeat}: change --run.repeat")
    before, build = source.config(), load_module(source.experiment).build
    if any(getattr(one, "privacy", None) is not None for one in (before, config)):
        raise BadInput("a private run is accounted from its first update to its last, so it has no fork")
    with appearing(build, config, new) as recorder:
        old, place = compose(build, dataclasses.replace(before, place=config.place))
        reader = Recorder(old, before, place, source)
        state = carry_over(reader.restore(step), recorder)
        origin = {"run": str(source.path.absolute()), "step": step, "changed": changed_fields(before, config)}
        origin["lineage"] = source.lineage()
        begin(recorder, build, origin)
        for record in source.metrics():
            if record["step"] <= step:
                recorder.run_dir.append_metrics(record["step"], {k: v for k, v in record.items() if k != "step"})
        recorder.checkpoints.save(step, state, recorder.run_dir.evaluation_at(step, recorder.experiment.evaluations))
    return [describe_fork(origin), *moved(old, before, recorder, step)]


@contextmanager
def appearing(build: Build, config: Any, new: Path) -> Iterator[Recorder]:
    """Open a run whose directory appears, with what is written and saved in it, whole or not at all.

    Args:
        build: composes the run.
        config: of the run.
        new: its directory, which must not be there.

    Raises:
        BadInput: it is there, or the run cannot be composed.
    """
    if new.exists():
        raise BadInput(f"{new} is there already: give another directory")
    partial = new.with_name(f".{new.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    recorder, _ = open_run(build, config, partial)
    try:
        yield recorder
        recorder.checkpoints.wait()
        partial.rename(new)
    finally:
        recorder.close()
        shutil.rmtree(partial, ignore_errors=True)


def begin(recorder: Recorder, build: Build, origin: dict[str, Any]) -> None:
    """Write what the directory of a fork begins with; `origin` is the "forked" entry of its lineage."""
    experiment, config = recorder.experiment, recorder.config
    session = describe(recorder.place, experiment.fingerprints(), config.run.seed) | {"forked": origin}
    recorder.run_dir.begin(config, session, source_file(build), experiment.artefacts)


def moved(old: Experiment, before: Any, recorder: Recorder, step: int) -> list[str]:
    """Return the line that says how the learning rate moves, where it does."""
    found = moved_rate(old, recorder.experiment, before.run.steps, recorder.config.run.steps, step)
    return [found] if found else []


def carry_over(state: Any, recorder: Recorder) -> Any:
    """Return a state as a state of another composition: its leaves by path, and the hyperparameters of that config.

    Args:
        state: what is carried over.
        recorder: of the run that it is for.

    Raises:
        BadInput: a leaf that only one of the two has, or with another shape or dtype.
    """
    experiment, shapes = recorder.experiment, recorder.shapes()
    have, want = _by_path(state), _by_path(shapes)
    settings = _settings(experiment, recorder)
    taken = {}
    for path, shape in want.items():
        leaf = settings[path] if path in settings else have.get(path)
        if leaf is None and (found := AVERAGE.fullmatch(path)):
            part, inside = found[1] or "", found[2]
            leaf = jnp.copy(have[part + inside] if part + inside in have else have[f"{part}variables/{inside}"])
        taken[path] = leaf
        if leaf is None or (leaf.shape, leaf.dtype) != (shape.shape, shape.dtype):
            raise BadInput(f"the state does not fit: {path} is {_kind(leaf)} there and {_kind(shape)} here")
    for path in have:
        if path not in want and not SETTING.fullmatch(path) and not AVERAGE.fullmatch(path):
            raise BadInput(f"the state does not fit: {path} is {_kind(have[path])} there and absent here")
    carried = jax.tree.unflatten(jax.tree.structure(shapes), list(taken.values()))
    return set_state_hyperparameters(carried, experiment.hyperparameters)


def _settings(experiment: Experiment, recorder: Recorder) -> dict[str, jax.Array]:
    """Return the leaves that a config sets in a new state, by path."""

    def drawn(key: jax.Array) -> dict[str, jax.Array]:
        return {path: leaf for path, leaf in _by_path(experiment.init(key)).items() if SETTING.fullmatch(path)}

    return recorder.place.init(drawn, jax.random.key(recorder.config.run.seeds.init))


def _by_path(state: Any) -> dict[str, Any]:
    """Return the leaves of a state by path, in their order; a number of a stage of the optimizer is no part of it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    plain = {STAGE.sub("", path) if "opt_state/" in path else path: leaf for path, leaf in named.items()}
    return plain if len(plain) == len(named) else named


def _kind(leaf: Any) -> str:
    return "absent" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def changed_fields(before: Any, config: Any) -> dict[str, list[Any]]:
    """Return the fields of two configs that differ, by dotted path, with both values."""
    there, here = flatten(to_json(before)), flatten(to_json(config))
    names = [name for name in {**there, **here} if there.get(name) != here.get(name) and name != "run.directory"]
    return {name: [there.get(name), here.get(name)] for name in names}
