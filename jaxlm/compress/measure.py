"""A model before and after: bytes, time of one input, inputs a second, and scores on the same data."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tabulate import tabulate

from jaxlm.data.protocol import Batch
from jaxlm.errors import BadInput
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Example, stack_rows
from jaxlm.runs.checkpoint import CheckpointStep
from jaxlm.runs.weights import load_into
from jaxlm.train.recorder import Recorder

ROUNDS = 15


class Measured(NamedTuple):
    """What a model costs and scores.

    Attributes:
        size: bytes of its weights.
        latency: milliseconds of one input, the median; without reading it and writing the answer.
        throughput: inputs a second in full batches, from the median.
        scores: of its evaluations, by name.
    """

    size: int
    latency: float
    throughput: float
    scores: Mapping[str, float]


def measure_models(
    models: Mapping[str, tuple[LoadedModel, Mapping[str, float]]], inputs: Sequence[Any]
) -> dict[str, Measured]:
    """Measure models that answer the same inputs, alternating between them.

    Args:
        models: name -> a model and its scores.
        inputs: raw ones; the rows of the first are what is computed.
    """
    (first, _), *_ = models.values()
    (prepared,) = first.predictor.preprocess(inputs[:1])
    if isinstance(prepared, BadInput):
        raise prepared
    row = prepared.rows[0]
    alone = {name: model for name, (model, _) in models.items()}
    times = {size: _times(alone, row, size) for size in sorted({1, first.predictor.batch})}
    found = {}
    for name, (model, scores) in models.items():
        size = sum(np.asarray(leaf).nbytes for leaf in leaves_by_path(model.variables).values())
        one, full = times[1][name], times[first.predictor.batch][name]
        found[name] = Measured(size, 1000 * one, first.predictor.batch / full, scores)
    return found


def _times(models: Mapping[str, LoadedModel], row: Example, size: int) -> dict[str, float]:
    """Return the median seconds of one call on a batch of this size."""
    batch = stack_rows([row], size)
    calls = {name: _call(model, batch) for name, model in models.items()}
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def _call(model: LoadedModel, batch: Batch) -> Callable[[], Any]:
    program, variables = jax.jit(model.predictor.apply), jax.device_put(model.variables)
    return lambda: jax.block_until_ready(program(variables, batch))


def scores_of(recorder: Recorder, step: CheckpointStep, variables: Any) -> dict[str, float]:
    """Return the numbers of the evaluations of a run with other weights in the place of its own.

    Args:
        recorder: of the run.
        step: the checkpoint whose other parts are taken.
        variables: {"params": ..., other collections}.
    """
    state = recorder.restore(recorder.checkpoints.choose(step))
    return recorder.numbers(load_into(state, leaves_by_path(variables)))


def comparison(found: Mapping[str, Measured], form: str = "simple") -> str:
    """Return a table of models, one a row."""
    first = next(iter(found.values()))
    head = ["model", "MB", "share", "ms an input", "inputs/s", *first.scores]
    rows = [
        [
            name,
            f"{one.size / 1e6:.3f}",
            f"{one.size / first.size:.1%}",
            f"{one.latency:.3g}",
            f"{one.throughput:.4g}",
            *(f"{value:.6g}" for value in one.scores.values()),
        ]
        for name, one in found.items()
    ]
    return tabulate(rows, head, tablefmt=form, disable_numparse=True)
