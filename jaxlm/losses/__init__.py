"""One task a file: factories of loss functions, and what is added to them."""

from jaxlm.losses.classification import IMAGE, TEXT, Classification, classification
from jaxlm.losses.dpo import DPO, dpo
from jaxlm.losses.masked_language_model import masked_language_model
from jaxlm.losses.next_token import next_token
from jaxlm.losses.penalty import penalise
from jaxlm.losses.token_classification import token_classification

__all__ = [
    "DPO",
    "IMAGE",
    "TEXT",
    "Classification",
    "classification",
    "dpo",
    "masked_language_model",
    "next_token",
    "penalise",
    "token_classification",
]
