"""Which user met which item: implicit feedback, for models that recommend."""

from jaxlm.data.interactions.files import CiteULike, InteractionFile, TfdsInteractions
from jaxlm.data.interactions.specs import Interactions
from jaxlm.data.interactions.splits import Fraction, LeaveOneOut

__all__ = ["CiteULike", "Fraction", "InteractionFile", "Interactions", "LeaveOneOut", "TfdsInteractions"]
