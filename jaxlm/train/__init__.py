"""The shell around the pure functions: config, run directory, checkpoints, the loop. The only part with effects."""

from jaxlm.train.config import Config, Run
from jaxlm.train.experiment import Experiment
from jaxlm.train.hyperparameters import hyperparameters, with_hyperparameters
from jaxlm.train.main import main, train
from jaxlm.train.start import Start

__all__ = ["Config", "Experiment", "Run", "Start", "hyperparameters", "main", "train", "with_hyperparameters"]
