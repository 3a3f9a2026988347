"""The algebra of training steps: pure functions over values. Needs nothing of the rest of jaxlm."""

from jaxlm.steps import transforms
from jaxlm.steps.gradient import GradFn, LossFn, accumulate, grad
from jaxlm.steps.metrics import Mean, Metrics, compute, merge
from jaxlm.steps.state import TrainState, init, start
from jaxlm.steps.update import EvalFn, StepFn, evaluate, update

__all__ = [
    "EvalFn",
    "GradFn",
    "LossFn",
    "Mean",
    "Metrics",
    "StepFn",
    "TrainState",
    "accumulate",
    "compute",
    "evaluate",
    "grad",
    "init",
    "merge",
    "start",
    "transforms",
    "update",
]
