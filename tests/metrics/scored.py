"""Batches of logits that tests of scores share."""

import numpy as np

from jaxlm.metrics import Calibration, Confusion, top_k
from jaxlm.steps import Mean

CLASSES = 5


def confusion(pairs):
    counts = np.zeros((CLASSES, CLASSES), np.int32)
    for true, predicted in pairs:
        counts[true, predicted] += 1
    return counts


def draw(seed, size, classes=CLASSES):
    """A batch of distinct logits, labels and a ragged mask of fractions."""
    random = np.random.default_rng(seed)
    logits = 3 * random.normal(size=(size, classes))
    labels, mask = random.integers(0, classes, size), random.choice([0, 0.25, 1, 3], size)
    return {"logits": logits.astype(np.float32), "labels": labels.astype(np.int32), "mask": mask.astype(np.float32)}


def metrics_of(batch):
    logits, labels, mask = batch["logits"], batch["labels"], batch["mask"]
    predicted = logits.argmax(-1)
    right = ((predicted == labels) * mask).sum()
    return {
        "loss": Mean(right, mask.sum()),
        "confusion": Confusion.from_predictions(predicted, labels, mask, logits.shape[-1]),
        "calibration": Calibration.from_logits(logits, labels, mask),
        "top_2": top_k(logits, labels, mask, 2),
    }
