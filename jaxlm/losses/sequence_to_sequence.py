"""Sequence to sequence: the cross entropy of the tokens of a target text, given a source text.

Shapes: B batch, T tokens, V vocabulary.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import LossFn, Mean, Metrics, Model, Perplexity, PyTree


@dataclass(frozen=True)
class SequenceToSequence:
    """Spec of the cross entropy of target tokens; call it with a model to get the loss.

    Attributes:
        smoothing: share of the probability that the true distribution gives to all tokens alike (Szegedy et al. 2016,
            section 7; Vaswani et al. 2017, section 5.4).
    """

    smoothing: float = 0.1

    hyperparameters = ("smoothing",)

    def __call__(self, model: Model, start: int = 0) -> LossFn:
        """Return the loss of a model whose targets begin with the token `start`.

        Raises:
            BadInput: `smoothing` is outside [0, 1).
        """
        if not isinstance(self.smoothing, jax.Array) and not 0 <= self.smoothing < 1:
            raise BadInput(f"loss.smoothing is {self.smoothing}: it must be at least 0 and less than 1")
        return sequence_to_sequence(model, start, self.smoothing)


def sequence_to_sequence(model: Model, start: int = 0, smoothing: float | jax.Array = 0.0) -> LossFn:
    """Cross entropy of each target token given the source and the target tokens before it, in nats per target token.

    `(1 - s) * -log p[target] + s * mean over V of -log p`, with s the smoothing in training and 0 in evaluation.

    The batch has "tokens" and "targets" int32 (B, T), and "source_segments" and "target_segments" int32 (B, T), 0 on
    padding; see `jaxlm.data.pairs`. A source that is not text is in "tokens" too, and one without padding has no
    "source_segments".

    The metrics are "loss" (nats per target token, smoothed in training) and "accuracy" (share of target tokens that are
    the most probable one); in evaluation also "perplexity".

    Args:
        model: an encoder-decoder; its `apply` takes (tokens, targets_in, segments=, target_segments=).
        start: the token before the first target.
        smoothing: see above.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        targets_BT, segments_BT = batch["targets"], batch["target_segments"]
        given_BT = jnp.pad(targets_BT[:, :-1], ((0, 0), (1, 0)), constant_values=start)
        of_source = {"segments": batch["source_segments"]} if "source_segments" in batch else {}
        layout = {**of_source, "target_segments": segments_BT}
        rngs = {"dropout": key} if train else None
        variables_ = {"params": params, **variables}
        logits_BTV = model.apply(variables_, batch["tokens"], given_BT, train=train, rngs=rngs, **layout)
        weights_BT = (segments_BT > 0).astype(jnp.float32)
        nats_BT, correct_BT = cross_entropy(logits_BTV, targets_BT)
        nats = Mean.from_values(nats_BT, weights_BT)
        metrics: Metrics = {"loss": nats, "accuracy": Mean.from_values(correct_BT, weights_BT)}
        if not train:
            metrics["perplexity"] = Perplexity(*nats)
        else:
            smoothed_BT = nats_BT + smoothing * _above_mean(logits_BTV.astype(jnp.float32), targets_BT)
            metrics["loss"] = Mean.from_values(smoothed_BT, weights_BT)
        return metrics, variables

    return loss


def _above_mean(logits_BTV: jax.Array, targets_BT: jax.Array) -> jax.Array:
    """Return how far the logit of each target is above the mean of its logits, float32 (B, T).

    Times the smoothing, it is what a smoothed cross entropy has more than a plain one: their log-partition is the same.
    Its gradient is a constant, where that of a second `log_softmax` would be another pass over the logits.
    """
    vocab = logits_BTV.shape[-1]
    picked_BTV = targets_BT[..., None] == jnp.arange(vocab)[None, None]
    return (logits_BTV * (picked_BTV - 1 / vocab)).sum(-1)
