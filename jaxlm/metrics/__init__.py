"""Metrics as sums that are added over batches and devices and divided once, on the host."""

from jaxlm.metrics.classification import Calibration, Confusion, top_k
from jaxlm.metrics.entities import Entities, Tags
from jaxlm.metrics.mean import Mean, Metric, Metrics, Perplexity, compute, merge

__all__ = [
    "Calibration",
    "Confusion",
    "Entities",
    "Mean",
    "Metric",
    "Metrics",
    "Perplexity",
    "Tags",
    "compute",
    "merge",
    "top_k",
]
