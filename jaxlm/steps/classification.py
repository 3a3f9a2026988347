"""How well classes are told apart, as sums that cross boundaries: confusion counts, calibration, top k.

Whole numbers are counted as whole numbers, so batch size, micro-batches and devices do not change a bit of them.
An example counts where its mask is above 0 and its label is one of the classes; it counts as one, whatever the mask.
The scores are scikit-learn's, with `zero_division=0`: a score that would be divided by zero is 0. Where nothing at all
was counted they are NaN.

Shapes: B examples, C classes, L classes chosen, N bins. Labels and predictions are integers; masks have any dtype.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.steps.metrics import Mean


class Confusion(NamedTuple):
    """Which class was taken for which: int32 (C, C), a row for each true class, a column for each predicted one."""

    counts: Any

    @classmethod
    def of(cls, predicted_B: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, classes: int) -> "Confusion":
        """Count integer predictions against integer labels; no mask counts all.

        A scatter of whole numbers: no array of B * C entries, and the same sums in whatever order they are added.
        """
        predicted_B, labels_B = (jnp.asarray(x, jnp.int32) for x in (predicted_B, labels_B))  # uint8 would wrap
        counted_B = _counted(labels_B, mask_B, classes) & (predicted_B >= 0) & (predicted_B < classes)
        zeros = jnp.zeros((classes, classes), jnp.int32)
        return cls(zeros.at[labels_B, predicted_B].add(counted_B.astype(jnp.int32), mode="drop"))

    def compute(self) -> dict[str, float]:
        """Accuracy, which is the micro average of all three scores, the other averages of `averages`, and `matthews`.

        The averages are over the classes that occur.
        """
        mean = averages(self.counts)
        return {
            "accuracy": mean["micro"]["f1"],
            "precision_macro": mean["macro"]["precision"],
            "recall_macro": mean["macro"]["recall"],
            "f1_macro": mean["macro"]["f1"],
            "f1_weighted": mean["weighted"]["f1"],
            "mcc": matthews(self.counts),
        }


class Calibration(NamedTuple):
    """Confidence against accuracy, by bins of confidence: N bins of equal width, each of them (low, high].

    counts: int32 (N,), examples.    correct: int32 (N,), those predicted rightly.
    confidence: float32 (N,), the sum of the largest probability of each.
    """

    counts: Any
    correct: Any
    confidence: Any

    @classmethod
    def of(cls, logits_BC: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, bins: int = 15) -> "Calibration":
        """Bin the largest probability of each example; the prediction is the first of the largest logits.

        Logarithms of probabilities are logits too.
        """
        counted_B = _counted(labels_B, mask_B, logits_BC.shape[-1])
        confidence_B = jax.nn.softmax(logits_BC.astype(jnp.float32)).max(-1)
        edges_E = jnp.asarray(np.arange(1, bins) / bins, jnp.float32)
        bin_B = (confidence_B[:, None] > edges_E[None]).sum(-1)
        inside_BN = (bin_B[:, None] == jnp.arange(bins)[None]) & counted_B[:, None]
        correct_B = logits_BC.argmax(-1) == labels_B
        return cls(
            counts=inside_BN.sum(0, dtype=jnp.int32),
            correct=(inside_BN & correct_B[:, None]).sum(0, dtype=jnp.int32),
            confidence=jnp.where(inside_BN, confidence_B[:, None], 0).sum(0),
        )

    def compute(self) -> dict[str, float]:
        """The expected calibration error, `sum_N counts / total * |accuracy - mean confidence|`.

        Naeini et al. 2015 (AAAI); Guo et al. 2017, arXiv:1706.04599, equation 3.
        """
        counts_N, correct_N, confidence_N = (np.asarray(x, np.float64) for x in self)
        total, gap = counts_N.sum(), np.abs(correct_N - confidence_N).sum()
        return {"calibration_error": float(gap / total) if total else float("nan")}


def top_k(logits_BC: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, k: int) -> Mean:
    """The share of examples whose label is among the k largest logits, as a Mean of two int32 counts.

    Ties favour the label: it is among the k largest if fewer than k logits are strictly larger. NaN counts as larger.
    """
    classes = logits_BC.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"the {k} largest of {classes} logits: k must be from 1 to {classes}")
    is_label_BC = labels_B[..., None] == jnp.arange(classes).reshape((1,) * labels_B.ndim + (-1,))
    logit_B = jnp.where(is_label_BC, logits_BC, 0).sum(-1)
    larger_B = (~(logits_BC <= logit_B[..., None])).sum(-1)
    counted_B = _counted(labels_B, mask_B, classes)
    return Mean(((larger_B < k) & counted_B).sum(dtype=jnp.int32), counted_B.sum(dtype=jnp.int32))


def _counted(labels_B: jax.Array, mask_B: jax.Array | None, classes: int) -> jax.Array:
    labels_B = jnp.asarray(labels_B, jnp.int32)
    known_B = (labels_B >= 0) & (labels_B < classes)
    return known_B if mask_B is None else known_B & (mask_B > 0)


def per_class(counts: Any) -> dict[str, np.ndarray]:
    """Of confusion counts (C, C), on the host: "precision", "recall" and "f1" float64 (C,), "support" int64 (C,)."""
    return _scores(*_marginals(counts))


def occurring(counts: Any) -> np.ndarray:
    """The classes that occur, as label or as prediction, in order: int64 (L,)."""
    _, predicted_C, true_C = _marginals(counts)
    return np.flatnonzero(predicted_C + true_C)


def averages(counts: Any, labels: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
    """The averages "micro", "macro" and "weighted" (by support) of "precision", "recall" and "f1", on the host.

    counts: (C, C).    labels: the classes to average over, by default those that occur, as in scikit-learn.
    """
    chosen = occurring(counts) if labels is None else np.asarray(labels, np.int64)
    if not len(chosen) or not np.any(counts):
        nothing = dict.fromkeys(("precision", "recall", "f1"), float("nan"))
        return {"micro": nothing, "macro": nothing, "weighted": nothing}
    marginals = [x[chosen] for x in _marginals(counts)]
    scores = _scores(*marginals)
    micro, support = _scores(*(x.sum(keepdims=True) for x in marginals)), scores.pop("support")
    weights = support if support.any() else None
    return {
        "micro": {name: float(micro[name][0]) for name in scores},
        "macro": {name: float(values.mean()) for name, values in scores.items()},
        "weighted": {name: float(np.average(values, weights=weights)) for name, values in scores.items()},
    }


def matthews(counts: Any) -> float:
    """Matthews' correlation coefficient of confusion counts (C, C), on the host: 1 is perfect, 0 is chance.

    Gorodkin 2004 (Comput. Biol. Chem. 28), equation 8; with two classes that of Matthews 1975.
    """
    right_C, predicted_C, true_C = (x.astype(np.float64) for x in _marginals(counts))
    right, total = right_C.sum(), true_C.sum()
    spread = (total**2 - predicted_C @ predicted_C) * (total**2 - true_C @ true_C)
    if not spread:
        return 0.0 if total else float("nan")
    return float((right * total - predicted_C @ true_C) / np.sqrt(spread))


def _marginals(counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, predictions and labels of each class, int64 (C,)."""
    counts = np.asarray(counts, np.int64)
    return counts.diagonal(), counts.sum(0), counts.sum(1)


def _scores(right: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return part / np.maximum(whole, 1)  # whole = 0 has part = 0

    f1 = divide(2 * right, predicted + true)
    return {"precision": divide(right, predicted), "recall": divide(right, true), "f1": f1, "support": true}


def report(counts: Any, names: Sequence[str], labels: Sequence[int] | None = None, digits: int = 2) -> str:
    """The text of scikit-learn's `classification_report(..., zero_division=0)`, from confusion counts (C, C).

    names: what each of the C classes is called.    labels: the classes that get a row, by default those that occur.
    As there, the line "accuracy" becomes "micro avg" where a class that occurs has no row.
    """
    if len(names) != len(counts):
        raise ValueError(f"{len(names)} names for {len(counts)} classes")
    chosen = occurring(counts) if labels is None else np.asarray(labels, np.int64)
    score, mean = per_class(counts), averages(counts, labels)
    if not np.trace(counts):  # a whim of scikit-learn's: where no prediction is right, supports read 3.0 and not 3
        score["support"] = score["support"].astype(np.float64)
    total = score["support"][chosen].sum()
    width = max(len("weighted avg"), digits, *(len(names[i]) for i in chosen))

    def line(name: str, cells: Sequence[str], support: Any) -> str:
        return row(name, cells, support, width)

    def number(value: float) -> str:
        return f"{value:.{digits}f}"

    lines = [line("", ("precision", "recall", "f1-score"), "support"), "\n"]
    columns = ("precision", "recall", "f1")
    lines += [line(names[i], [number(score[c][i]) for c in columns], score["support"][i]) for i in chosen]
    average = {kind: line(f"{kind} avg", [number(mean[kind][c]) for c in columns], total) for kind in mean}
    if set(chosen) >= set(occurring(counts)):
        average["micro"] = line("accuracy", ["", "", number(mean["micro"]["f1"])], total)
    return "".join([*lines, "\n", *average.values()])


def row(name: str, cells: Sequence[str], support: Any, width: int) -> str:
    """One line of a report: a name, right-aligned in `width`, and cells of nine."""
    return f"{name:>{width}s} " + "".join(f" {cell:>9}" for cell in (*cells, support)) + "\n"
