"""Runs that can share a compiled program: they differ only in what their states hold."""

import dataclasses
from collections.abc import Collection
from functools import wraps
from typing import Any

from jaxlm.environments import Gymnasium
from jaxlm.optim import Spec
from jaxlm.parallel import Placement
from jaxlm.runs.serialise import digest, flatten, to_json
from jaxlm.train.experiment import Build, Experiment
from jaxlm.train.hyperparameters import OF_OPTIMIZER, values_of

SEEDS = ("run.seed", "run.init_seed", "run.data_seed", "run.noise_seed")
FREE = (*SEEDS, "run.directory")  # what no program depends on, beside hyperparameters


def program_digest(config: Any, hyperparameters: Collection[str] = ()) -> str | None:
    """Return a digest that is equal for configs whose runs can share a compiled program.

    Args:
        config: of a run.
        hyperparameters: paths of those that its state has, see `Experiment.hyperparameters`.

    Returns:
        The digest, or None for an optimizer whose learning rate is a constant of the program.
    """
    if not isinstance(config.optim, Spec):
        return None
    free = {*FREE, *OF_OPTIMIZER, *hyperparameters}
    return digest({name: value for name, value in flatten(to_json(config)).items() if name not in free})


def can_train_together(config: Any) -> bool:
    """Whether runs of one program can also be trained at the same time, see `train.pack`."""
    run = config.run
    if isinstance(getattr(config.data, "environment", None), Gymnasium):
        return False  # the host takes the steps of one run after another
    return config.place.kind == "local" and run.repeat == 1 and run.patience is None and config.init.path is None


def share_compilation(build: Build) -> Build:
    """Compose runs of one program with the functions of the first of them, so that jax compiles them once.

    What differs between them, seeds and hyperparameters, is in their states. Only the functions of the last program
    are kept. No run shows a preview at its end: nobody looks at those of many runs.
    """
    first: dict[str, Experiment] = {}  # by program; one at most

    @wraps(build)
    def composed(config: Any, place: Placement) -> Experiment:
        experiment = dataclasses.replace(build(config, place), preview=None)
        program = program_digest(config, experiment.hyperparameters)
        if program is None:
            return experiment
        if program not in first:
            first.clear()
        shared = first.setdefault(program, experiment)
        values = values_of(config, experiment.hyperparameters)
        evaluations = {
            name: dataclasses.replace(evaluation, outputs=shared.evaluations[name].outputs)
            for name, evaluation in experiment.evaluations.items()
        }
        return dataclasses.replace(
            experiment, init=shared.init, step=shared.step, evaluations=evaluations, hyperparameters=values
        )

    return composed
