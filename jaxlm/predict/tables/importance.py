"""Which columns of a table a run's model relies on (Breiman 2001, section 10; Fisher et al. 2019, arXiv:1801.01489)."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.arrays import Examples
from jaxlm.errors import BadInput
from jaxlm.predict.tables.rows import read_schema
from jaxlm.train.evaluate import Evaluator
from jaxlm.train.recorder import Recorder


class Importance(NamedTuple):
    """How a metric moves where a column is permuted.

    Attributes:
        column: its name.
        mean: the metric as it is less that with the column permuted, mean over permutations.
        std: their standard deviation.
    """

    column: str
    mean: float
    std: float


def permutation_importance(
    recorder: Recorder, state: Any, metric: str, *, repeats: int = 5, seed: int = 0
) -> tuple[float, list[Importance]]:
    """Measure how much a metric loses when the cells of a column are permuted among the rows of the evaluation.

    A column that others repeat loses little, though the model reads it.

    Args:
        recorder: of a run on a table.
        state: of a checkpoint.
        metric: such as "eval/r2".
        repeats: permutations of each column.
        seed: of the permutations.

    Returns:
        The metric as it is, and every column, the largest change first.

    Raises:
        BadInput: the run is not on a table, or has no such metric.
    """
    name = metric.partition("/")[0]
    evaluation = recorder.experiment.evaluations.get(name)
    schema = read_schema(recorder.run_dir)
    if evaluation is None:
        raise BadInput(
            f"the run has no evaluation {name}: choose a metric of {', '.join(recorder.experiment.evaluations)}"
        )
    data = recorder.config.data
    part, batch = data.loaded().eval, data.eval_batch or data.batch
    whole = _measured(recorder, state, metric, evaluation, Examples(part.arrays, batch))
    found = []
    for number, column in enumerate(schema.names):
        losses = []
        for repeat in range(repeats):
            order = np.random.default_rng((seed, number, repeat)).permutation(len(part.places))
            cells = part.cells | {column: part.cells[column][order]}
            arrays = part.arrays | schema.encode(cells, part.places).arrays
            losses.append(whole - _measured(recorder, state, metric, evaluation, Examples(arrays, batch)))
        found.append(Importance(column, float(np.mean(losses)), float(np.std(losses))))
    return whole, sorted(found, key=lambda one: -abs(one.mean))


def _measured(recorder: Recorder, state: Any, metric: str, evaluation: Any, data: Examples) -> float:
    name = metric.partition("/")[0]
    evaluator = Evaluator({name: dataclasses.replace(evaluation, data=data)}, recorder.place)
    numbers = evaluator.numbers([name], state)
    if metric not in numbers:
        raise BadInput(f"the run has no metric {metric}: choose one of {', '.join(sorted(numbers))}")
    return numbers[metric]
