"""Tell what stood at hidden places of a text (Devlin et al. 2019, section 3.1)."""

from jaxlm.losses.next_token import Applies, next_token
from jaxlm.steps import LossFn


def masked_language_model(model: Applies) -> LossFn:
    """Cross entropy of the tokens to be guessed, in nats: `-log softmax(logits)[target]`, summed where "mask" is 1.

    batch: "tokens" int32 (B, T), what is read; "targets" int32 (B, T), what stood there; "mask" float32 (B, T), where
    to guess; optional "segments", "types" and "positions" int32 (B, T). `jaxlm.data.Masked` makes such batches.
    Metrics: "loss" (nats per guessed token), "accuracy" (share of guessed tokens that are the likeliest).

    It is the loss of next tokens: which token is the target of a place is the data's to say.
    """
    return next_token(model)
