"""The algebra of training steps: pure functions over values. Needs nothing of the rest of jaxlm but metrics."""

from jaxlm.metrics.mean import Mean, Metric, Metrics, Perplexity, compute, merge, require_sums
from jaxlm.steps import transforms
from jaxlm.steps.gradient import GradFn, LossFn, accumulate, grad
from jaxlm.steps.keys import typed_keys
from jaxlm.steps.model import Model, PyTree
from jaxlm.steps.private import add_noise, clip_each
from jaxlm.steps.state import Joint, TrainState, eval_variables, init, joint, new_state
from jaxlm.steps.update import EvalFn, StepFn, evaluate, update

__all__ = [
    "EvalFn",
    "GradFn",
    "Joint",
    "LossFn",
    "Mean",
    "Metric",
    "Metrics",
    "Model",
    "Perplexity",
    "PyTree",
    "StepFn",
    "TrainState",
    "accumulate",
    "add_noise",
    "clip_each",
    "compute",
    "eval_variables",
    "evaluate",
    "grad",
    "init",
    "joint",
    "merge",
    "new_state",
    "require_sums",
    "transforms",
    "typed_keys",
    "update",
]
