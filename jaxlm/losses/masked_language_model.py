"""Masked language modelling: predict the tokens that were hidden (Devlin et al. 2019, section 3.1)."""

from jaxlm.losses.next_token import next_token
from jaxlm.steps import LossFn, Model


def masked_language_model(model: Model) -> LossFn:
    """Cross entropy of hidden tokens, in nats: `-log softmax(logits)[target]`, summed where "mask" is 1.

    The batch has "tokens" int32 (B, T), the text with hidden tokens; "targets" int32 (B, T), the original tokens;
    "mask" float32 (B, T), 1 where a token is to be predicted; optional "segments", "types" and "positions" int32 (B,
    T). `jaxlm.data.Masked` makes such batches.

    The metrics are "loss" (nats per predicted token) and "accuracy" (share of targets that are the most probable
    token).

    It is the same loss as `next_token`: the data decide which token is the target of a place.
    """
    return next_token(model)
