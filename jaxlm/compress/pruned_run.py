"""A run whose weights are those of another run, pruned."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxlm.compress.prune import prune_average
from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.runs.weights import open_checkpoints
from jaxlm.train.replay.fork import appearing, begin, changed_fields


def prune_run(source: RunDirectory, step: int, new: Path, change: Callable[[Any], Any]) -> dict[str, dict[str, float]]:
    """Make a run directory with one checkpoint, that of another run with its weights changed, as a fork of that run.

    The optimizer's state, the key and the number of updates are those of the checkpoint, and `optim.prune.keep` is set,
    so that `jaxlm fork` of the new run trains what is left.

    Args:
        source: the run.
        step: updates completed at the checkpoint.
        new: the directory of the new run, which must not be there.
        change: parameters -> parameters.

    Returns:
        The numbers of its evaluations "before" and "after".

    Raises:
        BadInput: the run has no ordinary state or optimizer.
    """
    before = source.config()
    if not hasattr(before.optim, "prune"):
        raise BadInput(f"the optimizer of {source.path} cannot keep zeros: it is a {type(before.optim).__name__}")
    optim = dataclasses.replace(before.optim, prune=dataclasses.replace(before.optim.prune, keep=True))
    run = dataclasses.replace(before.run, directory=str(new))
    config = dataclasses.replace(before, optim=optim, run=run)
    build = load_module(source.experiment).build
    with appearing(build, config, new) as recorder:
        layout = recorder.place.layout(recorder.shapes())
        state = open_checkpoints(source, before.run).restore(step, layout)
        if not hasattr(state, "params"):
            raise BadInput(f"{source.path} trains several nets, and one alone can be pruned")
        numbers = {"before": recorder.numbers(state)}
        pruned, ema = _in_place(change(state.params), state.params), state.ema
        if ema is not None:
            ema = {**ema, "params": _in_place(prune_average(ema["params"], state.params, pruned), state.params)}
        state = state.replace(params=pruned, ema=ema)
        numbers["after"] = recorder.numbers(state)
        origin = {"run": str(source.path.absolute()), "step": step, "changed": changed_fields(before, config)}
        begin(recorder, build, origin | {"lineage": source.lineage()})
        recorder.run_dir.append_metrics(step, numbers["after"])
        recorder.checkpoints.save(step, state, numbers["after"])
    return numbers


def _in_place(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), new, old)
