"""One task a file: factories of loss functions, and what is added to them."""

from jaxlm.losses.classification import Classification, classification
from jaxlm.losses.next_token import next_token
from jaxlm.losses.penalty import penalise

__all__ = ["Classification", "classification", "next_token", "penalise"]
