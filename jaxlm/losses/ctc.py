"""Connectionist temporal classification (CTC): the probability of a text, over all the moments it may be said at.

Shapes: B batch, T outputs, L tokens of a target, V tokens without the blank.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree


class CTCModel(Model, Protocol):
    """A model of speech, such as `jaxlm.models.speech_to_tokens.SpeechToTokens`."""

    @property
    def blank(self) -> int:
        """The number of the blank among the outputs."""

    def outputs(self, frames: Any) -> Any:
        """Return how many outputs so many frames have."""


def ctc_nats(
    logits_BTV: jax.Array, outputs_B: jax.Array, targets_BL: jax.Array, lengths_B: jax.Array, blank: int
) -> tuple[jax.Array, jax.Array]:
    """Compute -log of the summed probability of all paths that spell a target (Graves et al. 2006, equation 8).

    Law: never NaN and never negative; rounding may take optax's sum a little below 0.

    Args:
        logits_BTV: of all tokens and the blank.
        outputs_B: int32, the outputs of each row that are not padding.
        targets_BL: int32 tokens.
        lengths_B: int32, the tokens of each target.
        blank: the number of the blank.

    Returns:
        Nats of each row, float32 [B], 0 where there is no path; and whether there is one, bool [B]: a target needs an
        output for each token, and one for the blank between two that are the same.
    """
    place_L, place_T = jnp.arange(targets_BL.shape[1])[None], jnp.arange(logits_BTV.shape[1])[None]
    inside_BL = place_L < lengths_B[:, None]
    again_BL = inside_BL[:, 1:] & (targets_BL[:, 1:] == targets_BL[:, :-1])
    possible_B = (lengths_B + again_BL.sum(1) <= outputs_B) & (outputs_B > 0)
    padding_BT = (place_T >= outputs_B[:, None]).astype(jnp.float32)
    logits_BTV = jnp.where(possible_B[:, None, None], logits_BTV.astype(jnp.float32), 0)
    nats_B = optax.ctc_loss(logits_BTV, padding_BT, targets_BL, 1 - inside_BL.astype(jnp.float32), blank_id=blank)
    return jnp.where(possible_B, jnp.maximum(nats_B, 0), 0), possible_B


def ctc(model: CTCModel) -> LossFn:
    """CTC of a text given the features of its sound, in nats per token of the target.

    The batch has "features" float32 (B, F, M), "frames" int32 (B,), "targets" int32 (B, L), "target_lengths" int32
    (B,) and "mask" float32 (B,), the weight of each utterance; see `jaxlm.data.audio`.

    The metrics are "loss", and "impossible": the share of utterances whose target has no path, which weigh nothing in
    the loss.

    Args:
        model: its `apply` takes (features, frames) and returns logits (B, T, V + 1), the blank's last.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        rngs = {"dropout": key} if train else None
        variables_, frames_B = {"params": params, **variables}, batch["frames"]
        logits_BTV = model.apply(variables_, batch["features"], frames_B, train=train, rngs=rngs)
        lengths_B, weights_B = batch["target_lengths"], batch["mask"]
        nats_B, possible_B = ctc_nats(logits_BTV, model.outputs(frames_B), batch["targets"], lengths_B, model.blank)
        counted_B = weights_B * possible_B
        return {
            "loss": Mean((nats_B * counted_B).sum(), (lengths_B * counted_B).sum()),
            "impossible": Mean.from_values(1.0 - possible_B, weights_B),
        }, variables

    return loss
