"""Scores of probabilities that need all examples at once, on the host: the area under the ROC curve, and log-loss."""

from typing import NamedTuple

import numpy as np


class ClassRanking(NamedTuple):
    """Probabilities of classes and the true class of every example, kept until all are there.

    Attributes:
        logits: float64 [N, K].
        labels: int64 [N].
    """

    logits: np.ndarray
    labels: np.ndarray

    def merge(self, other: "ClassRanking") -> "ClassRanking":
        """Return the scores over the examples of both."""
        return ClassRanking(np.concatenate([self.logits, other.logits]), np.concatenate([self.labels, other.labels]))

    def compute(self) -> dict[str, float]:
        """Return "auc", by scikit-learn, and "log_loss", the mean of -log p of the true class in nats.

        With two classes examples are ranked by the difference of their logits, which has no ties that a probability
        rounded to 1 would have. With more, the area is the mean over classes of each against all others. The area is
        NaN where a class does not occur or a logit is not finite.
        """
        from sklearn.metrics import roc_auc_score

        top_N1 = self.logits.max(1, keepdims=True)
        with np.errstate(invalid="ignore"):  # of a model that has diverged
            log_p_NK = self.logits - top_N1 - np.log(np.exp(self.logits - top_N1).sum(1, keepdims=True))
        log_loss = float(-np.take_along_axis(log_p_NK, self.labels[:, None], 1).mean())
        classes = self.logits.shape[1]
        if len(np.unique(self.labels)) < classes or not np.isfinite(log_p_NK).all():
            return {"auc": float("nan"), "log_loss": log_loss}
        ranks = self.logits[:, 1] - self.logits[:, 0] if classes == 2 else np.exp(log_p_NK)
        auc = roc_auc_score(self.labels, ranks, multi_class="ovr", labels=None if classes == 2 else range(classes))
        return {"auc": float(auc), "log_loss": log_loss}
