"""Optimizers as config values: frozen specs that become optax transformations."""

from jaxlm.optim.groups import TRANSFORMER_GROUPS, Group, match_groups
from jaxlm.optim.optimizers import Adam, AdamW
from jaxlm.optim.schedules import fraction_of_peak
from jaxlm.optim.spec import Spec, set_hyperparameters

__all__ = [
    "TRANSFORMER_GROUPS",
    "Adam",
    "AdamW",
    "Group",
    "Spec",
    "fraction_of_peak",
    "match_groups",
    "set_hyperparameters",
]
