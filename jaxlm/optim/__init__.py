"""Optimizers as config values: frozen specs that become optax transformations."""

from jaxlm.optim.groups import TRANSFORMER_GROUPS, Group, layerwise, match_groups
from jaxlm.optim.optimizers import SGD, Adafactor, Adam, AdamW, Lion, Muon, RMSProp
from jaxlm.optim.schedules import ScheduleName, fraction_of_peak
from jaxlm.optim.spec import SETTABLE, Spec, set_hyperparameters

__all__ = [
    "SETTABLE",
    "SGD",
    "TRANSFORMER_GROUPS",
    "Adafactor",
    "Adam",
    "AdamW",
    "Group",
    "Lion",
    "Muon",
    "RMSProp",
    "ScheduleName",
    "Spec",
    "fraction_of_peak",
    "layerwise",
    "match_groups",
    "set_hyperparameters",
]
