"""The program that several runs share, which differ only in what their states hold."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.protocol import Batch, Data
from jaxlm.optim import Spec
from jaxlm.parallel import Placement, Spread, devices_for
from jaxlm.steps import Metrics
from jaxlm.steps.transforms import Packing, over_runs
from jaxlm.train.experiment import Build, Experiment
from jaxlm.train.hyperparameters import FIELDS, OF_OPTIMIZER, values_of
from jaxlm.train.loop import shapes_of
from jaxlm.train.main import initialise
from jaxlm.train.serialise import digest, flatten, to_json

SEEDS = ("run.seed", "run.init_seed", "run.data_seed", "run.noise_seed")
FREE = (*SEEDS, "run.directory")  # what no program depends on, beside hyperparameters


def program_digest(config: Any, held: Collection[str] = ()) -> str | None:
    """What configs share whose runs can be one program; None where a run needs a program and a process of its own.

    held: names of the hyperparameters that are in the state, as `Experiment.hyperparameters` tells.
    """
    run, optim = config.run, config.optim
    together = config.place.kind == "local" and isinstance(optim, Spec) and config.start.path is None
    if not together or run.repeat > 1 or run.patience is not None:
        return None
    free = {*FREE, *OF_OPTIMIZER.values(), *(FIELDS[name] for name in held)}
    return digest({name: value for name, value in flatten(to_json(config)).items() if name not in free})


def sharing(build: Build, lead: Experiment) -> Build:
    """Compose runs with the functions of `lead`, a run of the same program: jax compiles them once.

    What is its own in a run, its seeds and hyperparameters, is in its state. None shows a sample at its end: of many
    runs nobody looks at them, and a small transformer would spend as long on one as on a hundred updates.
    """

    @wraps(build)
    def composed(config: Any, place: Placement) -> Experiment:
        own = build(config, place)
        values = values_of(config, own.hyperparameters)
        return dataclasses.replace(
            own, init=lead.init, step=lead.step, evaluate=lead.evaluate, hyperparameters=values, preview=None
        )

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
    """One step and one evaluation for all configs of one `program_digest`, traced and compiled once for each width.

    devices: over the first so many, or as many as divide a width, the runs of a pack are dealt out.
    """

    def __init__(self, build: Build, config: Any, packing: Packing, devices: int = 1):
        self.packing, self.devices = packing, devices
        self.place = config.place.build()
        self.experiment: Experiment = build(config, self.place)
        self.held = [name for name in self.experiment.hyperparameters if name not in OF_OPTIMIZER]
        self._steps: dict[Any, Any] = {}
        self._evaluations: dict[int, Any] = {}

    def begin(self, config: Any) -> Any:
        """The state of a run before its first update: its own seeds and hyperparameters."""
        own = values_of(config, self.held)
        return initialise(dataclasses.replace(self.experiment, hyperparameters=own), self.place, config.run.seeds)

    def spread(self, width: int) -> Spread:
        """Where as many runs as that live."""
        return Spread(devices_for(width, self.devices))

    def put(self, trees: Any) -> Any:
        """Stacked states, or a batch for each run, to where the runs live."""
        return self.spread(width_of(trees)).deal(trees)

    def step(self, states: Any, batches: Any) -> Any:
        """Run the step, compiled at the first call of so many runs and such batches."""
        return self.compiled(states, batches)(states, batches)

    def compiled(self, states: Any, batches: Any) -> Any:
        """The compiled step of as many runs as the states hold."""
        shapes = shapes_of(batches)  # they begin with the number of runs
        if shapes not in self._steps:
            step = self.spread(width_of(states)).compile(over_runs(self.experiment.step, self.packing))
            self._steps[shapes] = step.lower(states, batches).compile()
        return self._steps[shapes]

    def evaluate(self, states: Any, batch: Any) -> Metrics:
        """Metrics with a leading axis of runs; the batch is the same for all."""
        width = width_of(states)
        if width not in self._evaluations:
            compile = self.spread(width).compile
            self._evaluations[width] = compile(self._evaluate_runs, shared=True, donate=False)
        return self._evaluations[width](states, batch)

    def _evaluate_runs(self, states: Any, batch: Any) -> Metrics:
        return over_runs(lambda state: self.experiment.evaluate(state, batch), self.packing)(states)


def width_of(trees: Any) -> int:
    """How many runs there are along the leading axis."""
    return len(jax.tree.leaves(trees)[0])


@jax.jit
def stack(states: Sequence[Any]) -> Any:
    """States along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def unstack(states: Any) -> list[Any]:
    """The inverse of `stack`, on the first device wherever the runs live."""
    gathered = Spread().gather(states)
    return [_of(gathered, run) for run in range(width_of(states))]


@jax.jit
def _of(states: Any, run: int) -> Any:
    """One run's; compiled once for all of them, where a slice for each takes XLA seconds."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, run, keepdims=False), states)
