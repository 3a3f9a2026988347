"""The algebra of training steps: pure functions over values. Needs nothing of the rest of jaxlm."""

from jaxlm.steps import classification, transforms
from jaxlm.steps.classification import Calibration, Confusion, top_k
from jaxlm.steps.gradient import GradFn, LossFn, accumulate, grad
from jaxlm.steps.metrics import Mean, Metric, Metrics, compute, merge
from jaxlm.steps.state import TrainState, evaluated, init, start
from jaxlm.steps.update import EvalFn, StepFn, evaluate, update

__all__ = [
    "Calibration",
    "Confusion",
    "EvalFn",
    "GradFn",
    "LossFn",
    "Mean",
    "Metric",
    "Metrics",
    "StepFn",
    "TrainState",
    "accumulate",
    "classification",
    "compute",
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
