"""Ablations: a config, a list of changes and a number of seeds become a table that anyone can make again."""

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.run import ablate

__all__ = ["Arm", "ablate"]
