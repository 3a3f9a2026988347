"""Precision, recall and F1 as text: a row for each class, or for each type of entity."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.metrics.entities import Entities, entity_averages, per_type

_COLUMNS = ("precision", "recall", "f1")


def classification_report(counts: Any, names: Sequence[str], digits: int = 4) -> str:
    """Format confusion counts as scikit-learn's `classification_report(..., zero_division=0)`.

    Args:
        counts: integers (C, C), a row for each true class and a column for each predicted one.
        names: the names of the C classes.
        digits: decimals of the scores.

    Returns:
        The report of the classes that occur, as label or as prediction.

    Raises:
        BadInput: no example was counted.
    """
    from sklearn import metrics

    counts = np.asarray(counts)
    true, predicted = (np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1))
    classes = np.union1d(true, predicted)
    if not len(classes):
        raise BadInput("no example was counted: the data to evaluate hold none with a label of a known class")
    return metrics.classification_report(
        true, predicted, target_names=[names[i] for i in classes], digits=digits, zero_division=0
    )


def entity_report(counts: Entities, types: Sequence[str], digits: int = 4) -> str:
    """Format entity counts as seqeval's `classification_report(..., zero_division=0)`.

    seqeval itself wants the tags of every word, which an evaluation that adds up counts does not keep.

    Args:
        counts: entities found, predicted and true, by type.
        types: the names of the E types.
        digits: decimals of the scores.

    Returns:
        The report of the types that occur, as label or as prediction.
    """
    scores, averages, true = per_type(counts), entity_averages(counts), np.asarray(counts.true)
    occurring = [e for e in range(len(types)) if counts.predicted[e] + true[e]]
    width = max(len("weighted avg"), digits, *(len(types[e]) for e in occurring)) if occurring else len("weighted avg")

    def row(name: str, values: Any, support: int) -> str:
        return _row(name, [f"{values[column]:.{digits}f}" for column in _COLUMNS], support, width)

    header = _row("", ("precision", "recall", "f1-score"), "support", width)
    rows = [row(types[e], {name: x[e] for name, x in scores.items()}, true[e]) for e in occurring]
    footer = [row(f"{kind} avg", averages[kind], true.sum()) for kind in averages]
    return "".join([header, "\n", *rows, "\n", *footer])


def _row(name: str, cells: Sequence[str], support: Any, width: int) -> str:
    """Format one line: a name, right-aligned in `width`, and cells of nine characters."""
    return f"{name:>{width}s} " + "".join(f" {cell:>9}" for cell in (*cells, support)) + "\n"
