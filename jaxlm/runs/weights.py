"""Read the parameters and other collections of a run, a pretrained folder or a file, by path."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.hub import pretrained
from jaxlm.hub.mapping import Leaves
from jaxlm.hub.pretrained import is_pretrained
from jaxlm.hub.tensors import refuse_pickle
from jaxlm.hub.torchvision import read_resnet
from jaxlm.runs.checkpoint import Checkpoints, CheckpointStep, Say
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import Run
from jaxlm.steps import eval_variables


def read_leaves(path: str, step: CheckpointStep) -> Leaves:
    """Read parameters and other collections by path, with adapters merged.

    Args:
        path: a run directory, a folder in Hugging Face's layout, or a .safetensors file of a ResNet.
        step: the checkpoint of a run, see `Checkpoints.choose`.

    Raises:
        BadInput: nothing that can be read is there.
    """
    if is_pretrained(path):
        return pretrained.load_pretrained(path).leaves
    if Path(path).suffix == ".safetensors":
        return read_resnet(path)
    if not Path(path).is_dir():
        refuse_pickle(Path(path))
    home = RunDirectory.existing(path)
    variables = read_run(home, step)
    return pretrained.leaves_by_path(home.config().model.merged(variables) if "base" in variables else variables)


def read_run(home: RunDirectory, step: CheckpointStep) -> dict[str, Any]:
    """Read what an evaluation of a run's checkpoint applies, {"params": ..., other collections}.

    Of a joint state (`steps.Joint`) it is that of each part with parameters, by the name of the part.

    Args:
        home: the run directory.
        step: the checkpoint, see `Checkpoints.choose`.

    Raises:
        BadInput: no such checkpoint, or a damaged one.
    """
    run = home.config().run if step == "best" else Run()
    checkpoints = open_checkpoints(home, run, _warn)
    return _applied(checkpoints.restore_raw(checkpoints.choose(step)))


def _applied(state: Mapping[str, Any]) -> dict[str, Any]:
    if "parts" in state:
        return {name: _applied(part) for name, part in state["parts"].items() if "params" in part}
    return eval_variables(state["params"], state.get("variables"), state.get("ema"))


def open_checkpoints(home: RunDirectory, run: Run, say: Say = print) -> Checkpoints:
    """Open the checkpoints of a run, of which those are kept, and the one is best, that its settings say."""
    best = (run.keep_best, run.metric, run.higher_is_better)
    return Checkpoints(home.checkpoints, run.keep_last, *best, say)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def by_path(state: Any) -> Leaves:
    """Return the parameters and other collections of a state, by path."""
    return pretrained.leaves_by_path({"params": state.params, **state.variables})


def load_into(state: Any, leaves: Leaves) -> Any:
    """Load arrays into a state, in its own dtypes and layout; the average starts at them.

    Args:
        state: the state.
        leaves: arrays by path; leaves of the state that are not among them stay.
    """

    def one(path: Any, old: Any) -> Any:
        new = leaves.get(jax.tree_util.keystr(path, simple=True, separator="/"))
        return old if new is None else jax.device_put(np.asarray(new).astype(old.dtype), old.sharding)

    replaced = jax.tree_util.tree_map_with_path(one, {"params": state.params, **state.variables})
    ema = None if state.ema is None else jax.tree.map(jnp.copy, replaced)
    return state.replace(params=replaced.pop("params"), variables=replaced, ema=ema)
