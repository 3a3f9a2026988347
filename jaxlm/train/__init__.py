"""Train: config, composition, the loop, records. With `jaxlm.runs`, `ablate` and `verbs` the only code with effects."""

from jaxlm.runs.settings import Run
from jaxlm.train.config import Config
from jaxlm.train.evaluate import Evaluation
from jaxlm.train.experiment import Experiment
from jaxlm.train.hyperparameters import hyperparameters, with_hyperparameters
from jaxlm.train.init_from import InitFrom
from jaxlm.train.main import Outcome, main, train

__all__ = [
    "Config",
    "Evaluation",
    "Experiment",
    "InitFrom",
    "Outcome",
    "Run",
    "hyperparameters",
    "main",
    "train",
    "with_hyperparameters",
]
