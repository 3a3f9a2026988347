"""Average checkpoints of a run: make a run of the mean of their weights (Vaswani et al. 2017, section 6.1)."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import describe_fork
from jaxlm.runs.load import load_module
from jaxlm.runs.weights import open_checkpoints
from jaxlm.train.replay.fork import appearing, begin

WEIGHTS = re.compile(r"(parts/[^/]+/)?(params|variables|ema)/.*")  # what an evaluation applies, by path in a state


def average_run(source: RunDirectory, steps: Sequence[int], new: Path) -> list[str]:
    """Make a run directory with one checkpoint, the mean of checkpoints of another run, as a fork of that run.

    Parameters, other collections and the running average are averaged, see `Sum`; the optimizer's state, the key and
    the number of updates are those of the newest checkpoint. Every verb reads the new directory as it reads a run.

    Laws: the mean of one checkpoint, or of equal ones, is that checkpoint in every bit.

    Args:
        source: the run.
        steps: updates completed at the checkpoints.
        new: the directory of the new run, which must not be there.

    Returns:
        The line that says what was averaged.

    Raises:
        BadInput: a checkpoint is damaged, or holds integers that are not the same in all of them.
    """
    ordered, before = sorted(steps), source.config()
    config = dataclasses.replace(before, run=dataclasses.replace(before.run, directory=str(new)))
    build = load_module(source.experiment).build
    with appearing(build, config, new) as recorder:
        checkpoints, layout = open_checkpoints(source, before.run), recorder.place.layout(recorder.shapes())
        total = Sum()
        for step in ordered:
            state = checkpoints.restore(step, layout)
            total.add(state, f"the checkpoint at update {step}")
        origin = {"run": str(source.path.absolute()), "step": ordered[-1], "changed": {}, "averaged": ordered}
        begin(recorder, build, origin | {"lineage": source.lineage()})
        recorder.checkpoints.save(ordered[-1], total.mean(state))
    return [describe_fork(origin)]


class Sum:
    """The sum of the weights of states, on the host, in float64.

    Float32 has 24 bits and float64 53, so the sum of up to 2^29 equal weights is exact, and so is their mean.
    """

    def __init__(self) -> None:
        self._count = 0
        self._leaves: dict[str, np.ndarray] = {}

    def add(self, state: Any, name: str) -> None:
        """Add the weights of a state.

        Raises:
            BadInput: weights that are not floating-point numbers, such as quantised ones, differ from those before.
        """
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            key = _key(path)
            if not WEIGHTS.fullmatch(key):
                continue
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                more = np.asarray(leaf).astype(np.float64)
                self._leaves[key] = self._leaves[key] + more if self._count else more  # 0.0 + -0.0 were another zero
            elif not np.array_equal(self._leaves.setdefault(key, np.asarray(leaf)), np.asarray(leaf)):
                raise BadInput(f"{key} is {leaf.dtype} and another one in {name}: integers have no mean, leave it out")
        self._count += 1

    def mean(self, state: Any) -> Any:
        """Return a state with the mean instead of its weights, in its own dtypes and layout."""

        def one(path: Any, leaf: jax.Array) -> jax.Array:
            total = self._leaves.get(_key(path))
            if total is None or not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return jax.device_put((total / self._count).astype(leaf.dtype), leaf.sharding)

        return jax.tree_util.tree_map_with_path(one, state)


def _key(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
