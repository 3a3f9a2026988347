"""Classification metrics as sums: confusion counts, calibration, top-k accuracy.

Integers are counted as integers, so batch size, micro-batches and devices do not change a bit of them. An example
counts where its mask is above 0 and its label is one of the classes; it counts as one, whatever the mask. The scores
are scikit-learn's, with `zero_division=0`: a score that would be divided by zero is 0. Where nothing at all was
counted they are NaN.

Shapes: B examples, C classes, N bins. Labels and predictions are integers; masks have any dtype.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.metrics.mean import Mean


class Confusion(NamedTuple):
    """Confusion matrix: int32 (C, C), a row for each true class, a column for each predicted one."""

    counts: Any

    @classmethod
    def from_predictions(
        cls, predicted_B: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, classes: int
    ) -> "Confusion":
        """Count integer predictions against integer labels.

        A scatter of integers: no array of B * C entries, and the same sums in any order of addition.

        Args:
            predicted_B: predicted classes.
            labels_B: true classes.
            mask_B: examples with a mask above 0 are counted; None counts all.
            classes: C.
        """
        predicted_B, labels_B = (jnp.asarray(x, jnp.int32) for x in (predicted_B, labels_B))  # uint8 would wrap
        counted_B = _counted(labels_B, mask_B, classes) & (predicted_B >= 0) & (predicted_B < classes)
        zeros = jnp.zeros((classes, classes), jnp.int32)
        return cls(zeros.at[labels_B, predicted_B].add(counted_B.astype(jnp.int32), mode="drop"))

    def compute(self) -> dict[str, float]:
        """Compute accuracy (the micro average of all three scores), the other averages, and Matthews' correlation.

        The averages cover the classes that occur.
        """
        mean = class_averages(self.counts)
        return {
            "accuracy": mean["micro"]["f1"],
            "precision_macro": mean["macro"]["precision"],
            "recall_macro": mean["macro"]["recall"],
            "f1_macro": mean["macro"]["f1"],
            "f1_weighted": mean["weighted"]["f1"],
            "mcc": matthews(self.counts),
        }


class Calibration(NamedTuple):
    """Confidence against accuracy in N bins of equal width, each of them (low, high].

    Attributes:
        counts: int32 (N,), examples.
        correct: int32 (N,), correct predictions.
        confidence: float32 (N,), the sum of the largest probability of each example.
    """

    counts: Any
    correct: Any
    confidence: Any

    @classmethod
    def from_logits(
        cls, logits_BC: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, bins: int = 15
    ) -> "Calibration":
        """Bin examples by their largest probability; the prediction is the first of the largest logits.

        Logarithms of probabilities are logits too.

        Args:
            logits_BC: logits.
            labels_B: true classes.
            mask_B: examples with a mask above 0 are counted; None counts all.
            bins: N.
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
        """Compute the expected calibration error, `sum_N counts / total * |accuracy - mean confidence|`.

        Naeini et al. 2015 (AAAI); Guo et al. 2017, arXiv:1706.04599, equation 3.
        """
        counts_N, correct_N, confidence_N = (np.asarray(x, np.float64) for x in self)
        total, gap = counts_N.sum(), np.abs(correct_N - confidence_N).sum()
        return {"calibration_error": float(gap / total) if total else float("nan")}


def top_k(logits_BC: jax.Array, labels_B: jax.Array, mask_B: jax.Array | None, k: int) -> Mean:
    """Compute top-k accuracy, the share of examples whose label is among the k largest logits, as a Mean of counts.

    Of equal logits the first ones count as larger, as for `argmax`, so that top-1 accuracy is that of `Confusion`. NaN
    counts as larger.

    Raises:
        ValueError: k is not from 1 to the number of classes.
    """
    classes = logits_BC.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"the {k} largest of {classes} logits: k must be from 1 to {classes}")
    classes_BC = jnp.arange(classes).reshape((1,) * labels_B.ndim + (-1,))
    logit_B = jnp.where(labels_B[..., None] == classes_BC, logits_BC, 0).sum(-1)[..., None]
    larger_B = (~(logits_BC <= logit_B) | (logits_BC == logit_B) & (classes_BC < labels_B[..., None])).sum(-1)
    counted_B = _counted(labels_B, mask_B, classes)
    return Mean(((larger_B < k) & counted_B).sum(dtype=jnp.int32), counted_B.sum(dtype=jnp.int32))


def _counted(labels_B: jax.Array, mask_B: jax.Array | None, classes: int) -> jax.Array:
    labels_B = jnp.asarray(labels_B, jnp.int32)
    known_B = (labels_B >= 0) & (labels_B < classes)
    return known_B if mask_B is None else known_B & (mask_B > 0)


def class_averages(counts: Any) -> dict[str, dict[str, float]]:
    """Average precision, recall and F1 over the classes that occur, as label or as prediction, on the host.

    Args:
        counts: confusion counts (C, C).

    Returns:
        "micro", "macro" and "weighted" (by support), each with "precision", "recall" and "f1".
    """
    right_C, predicted_C, true_C = _marginals(counts)
    occurs_C = predicted_C + true_C > 0
    if not occurs_C.any():
        nothing = dict.fromkeys(("precision", "recall", "f1"), float("nan"))
        return {"micro": nothing, "macro": nothing, "weighted": nothing}
    marginals = [x[occurs_C] for x in (right_C, predicted_C, true_C)]
    scores = _scores(*marginals)
    micro, support = _scores(*(x.sum(keepdims=True) for x in marginals)), scores.pop("support")
    return {
        "micro": {name: float(micro[name][0]) for name in scores},
        "macro": {name: float(values.mean()) for name, values in scores.items()},
        "weighted": {name: float(np.average(values, weights=support)) for name, values in scores.items()},
    }


def matthews(counts: Any) -> float:
    """Compute Matthews' correlation coefficient of confusion counts (C, C), on the host: 1 is perfect, 0 is chance.

    Gorodkin 2004 (Comput. Biol. Chem. 28), equation 8; with two classes it is that of Matthews 1975.
    """
    right_C, predicted_C, true_C = (x.astype(np.float64) for x in _marginals(counts))
    right, total = right_C.sum(), true_C.sum()
    spread = (total**2 - predicted_C @ predicted_C) * (total**2 - true_C @ true_C)
    if not spread:
        return 0.0 if total else float("nan")
    return float((right * total - predicted_C @ true_C) / np.sqrt(spread))


def _marginals(counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true positives, predictions and labels of each class, int64 (C,)."""
    counts = np.asarray(counts, np.int64)
    return counts.diagonal(), counts.sum(0), counts.sum(1)


def _scores(right: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return part / np.maximum(whole, 1)  # whole = 0 has part = 0

    f1 = divide(2 * right, predicted + true)
    return {"precision": divide(right, predicted), "recall": divide(right, true), "f1": f1, "support": true}
