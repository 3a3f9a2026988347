"""The algebra of training steps: pure functions over values. Needs nothing of the rest of jaxlm."""

from jaxlm.steps import classification, entities, transforms
from jaxlm.steps.classification import Calibration, Confusion, top_k
from jaxlm.steps.entities import Entities, Tags
from jaxlm.steps.gradient import GradFn, LossFn, accumulate, grad
from jaxlm.steps.metrics import Mean, Metric, Metrics, Perplexity, compute, merge
from jaxlm.steps.state import TrainState, evaluated, init, start
from jaxlm.steps.update import EvalFn, StepFn, evaluate, update

__all__ = [
    "Calibration",
    "Confusion",
    "Entities",
    "EvalFn",
    "GradFn",
    "LossFn",
    "Mean",
    "Metric",
    "Metrics",
    "Perplexity",
    "StepFn",
    "Tags",
    "TrainState",
    "accumulate",
    "classification",
    "compute",
    "entities",
    "evaluate",
    "evaluated",
    "grad",
    "init",
    "merge",
    "start",
    "top_k",
    "transforms",
    "update",
]
