"""The learning-rate range test: train while the rate rises, and see where the loss falls and where it breaks."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxlm.data.loader import batches
from jaxlm.errors import BadInput
from jaxlm.runs.weights import load_into
from jaxlm.steps import compute
from jaxlm.train.experiment import Build, check_shapes
from jaxlm.train.hyperparameters import set_state_hyperparameters
from jaxlm.train.init_from import initialise
from jaxlm.train.meter import widen
from jaxlm.train.recorder import compose

DIVERGED = 4.0  # a smoothed loss this many times the lowest one ends the test
FORGET = 0.9  # how slowly the smoothed loss forgets


class RatePoint(NamedTuple):
    """One update: its learning rate, the loss before it, and a mean of the losses so far that favours recent ones."""

    rate: float
    loss: float
    smoothed: float


class Suggestion(NamedTuple):
    """Two learning rates: a tenth of that with the lowest loss, and that at which the loss falls fastest."""

    below_lowest: float
    steepest: float


def range_test(build: Build, config: Any, updates: int = 100, low: float = 1e-6, high: float = 1.0) -> list[RatePoint]:
    """Train for some updates while the learning rate rises exponentially (Smith 2017, arXiv:1506.01186, section 3.3).

    Update i has the rate low * (high / low) ** (i / (updates - 1)), without warm-up or schedule. The test ends early
    once the loss is not finite or has diverged. Nothing is written.

    Args:
        build: composes the experiment.
        config: the config, whose model, data, seeds and other optimizer settings are used.
        updates: at least 2.
        low: the first learning rate.
        high: the last one.

    Raises:
        BadInput: rates that do not rise, an experiment whose learning rate is not in its state, or a private one.
    """
    if updates < 2 or not 0 < low < high < math.inf:
        raise BadInput(f"{updates} updates from {low:g} to {high:g}: give 2 or more, and rates that rise from above 0")
    if not hasattr(config.optim, "peak_lr"):
        raise BadInput("the optimizer of this config has no peak_lr: a range test needs one")
    if getattr(config, "privacy", None) is not None:
        raise BadInput("a range test prints losses of training examples, which are not private: leave privacy out")
    optim = dataclasses.replace(config.optim, peak_lr=low, warmup=0, schedule="constant")
    run = dataclasses.replace(config.run, steps=updates, repeat=1, skip_limit=updates + 1)
    config = dataclasses.replace(config, optim=optim, run=run)
    experiment, place = compose(build, config)
    check_shapes(experiment, run, place)
    shapes = jax.eval_shape(experiment.init, jax.random.key(run.seeds.init))
    if not hasattr(getattr(shapes, "opt_state", None), "hyperparams"):
        raise BadInput("this experiment has no single optimizer, so no single learning rate to test")
    state = initialise(experiment, place, run.seeds)
    arrays = experiment.init_from.load(shapes, config.model, experiment.artefacts).arrays
    state = load_into(state, arrays) if arrays else state
    step, points = place.compile(experiment.step), list[RatePoint]()
    for index, batch in enumerate(batches(experiment.train_data, 0, updates, put=place.put, workers=run.workers)):
        rate = low * (high / low) ** (index / (updates - 1))
        state, metrics = step(_at_rate(state, rate), batch)
        points.append(smooth(points, rate, compute(widen(metrics), "train/")["train/loss"]))
        if has_diverged(points):
            break
    return points


def _at_rate(state: Any, rate: float) -> Any:
    """Return a state with a learning rate, in the layout that it has."""
    changed = set_state_hyperparameters(state, {"optim.peak_lr": rate})
    return jax.tree.map(lambda new, old: new if new is old else jax.device_put(new, old.sharding), changed, state)


def smooth(before: Sequence[RatePoint], rate: float, loss: float) -> RatePoint:
    """Return the next point: the smoothed loss is the mean of all losses, each weighing FORGET of the one after it."""
    count = len(before) + 1
    total = before[-1].smoothed * (1 - FORGET ** (count - 1)) if before else 0.0
    return RatePoint(rate, loss, (FORGET * total + (1 - FORGET) * loss) / (1 - FORGET**count))


def has_diverged(points: Sequence[RatePoint]) -> bool:
    """Return whether the last loss is not finite, or its smoothed value is far above the lowest one.

    Far is as much as DIVERGED - 1 times the size of the lowest or of the first, so that a loss may be negative.
    """
    last, lowest = points[-1], min(point.smoothed for point in points)
    size = max(abs(lowest), abs(points[0].smoothed)) if lowest <= 0 else lowest
    return not math.isfinite(last.loss) or last.smoothed - lowest > (DIVERGED - 1) * size


def suggest_rate(points: Sequence[RatePoint]) -> Suggestion:
    """Return the rates that the points suggest_rate for `optim.peak_lr`.

    Raises:
        BadInput: the loss never falls between the rates.
    """
    finite = [point for point in points if math.isfinite(point.smoothed)]
    slopes = [
        ((after.smoothed - before.smoothed) / math.log(after.rate / before.rate), before.rate)
        for before, after in itertools.pairwise(finite)
    ]
    if not slopes or min(slopes)[0] >= 0:
        raise BadInput("the loss does not fall at any of these rates: give other bounds, or more updates")
    return Suggestion(min(finite, key=lambda point: point.smoothed).rate / 10, min(slopes)[1])
