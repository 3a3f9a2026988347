"""Metrics as sums that are added over batches and devices and divided once, on the host."""

from jaxlm.metrics.classification import Calibration, Confusion, top_k
from jaxlm.metrics.entities import Entities, Tags
from jaxlm.metrics.item_ranking import rank_counts, ranking_metrics, ranking_values
from jaxlm.metrics.mean import Mean, Metric, Metrics, Perplexity, compute, merge
from jaxlm.metrics.regression import RegressionErrors

__all__ = [
    "Calibration",
    "Confusion",
    "Entities",
    "Mean",
    "Metric",
    "Metrics",
    "Perplexity",
    "RegressionErrors",
    "Tags",
    "compute",
    "merge",
    "rank_counts",
    "ranking_metrics",
    "ranking_values",
    "top_k",
]
