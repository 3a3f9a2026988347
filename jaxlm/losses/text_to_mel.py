"""Text to mel spectrograms: flow matching, the average frame of each token, and durations.

Mehta et al. 2024 (Matcha-TTS, arXiv:2309.03199, section 2). Shapes: B batch, L tokens, T frames, M mel bands.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import LossFn, Mean, Metrics, Model, PyTree, typed_keys


@dataclass(frozen=True)
class TextToMel:
    """Spec of the loss of a model such as `jaxlm.models.matcha.Matcha`; call it with the model to get the loss.

    Attributes:
        prior: weight of the average frames.
        duration: weight of the durations.
    """

    prior: float = 1.0
    duration: float = 1.0

    hyperparameters = ("prior", "duration")

    def __call__(self, model: Model) -> LossFn:
        """Return the loss.

        Raises:
            BadInput: a weight is negative, or not finite.
        """
        for name in self.hyperparameters:
            value = getattr(self, name)
            if not isinstance(value, jax.Array) and not 0 <= value < math.inf:
                raise BadInput(f"loss.{name} is {value}: it must be a finite number of at least 0")
        return text_to_mel(model, self.prior, self.duration)


def text_to_mel(model: Model, prior: float | jax.Array = 1.0, duration: float | jax.Array = 1.0) -> LossFn:
    """Return the loss of a frame: that of the velocity, and with their weights those of the averages and the durations.

    The batch has "tokens" int32 (B, L), "token_lengths", "speaker" and "frames" int32 (B,), "mel" float32 (B, T, M),
    "keys" uint32 (B, 2) and "mask" float32 (B,), the weight of each utterance; see `jaxlm.data.audio.voices`. The time
    and the noise of an utterance are drawn from its key, those of a frame whatever the padding is.

    The metrics are "loss" (per frame); "flow", the squared error of the velocity, and "prior", the nats of a frame
    given its token's average, both averaged over bands; "duration", the squared error of a logarithm, per token; and
    "impossible": the share of utterances with fewer frames than tokens, which weigh nothing.

    Args:
        model: its `apply` returns `FlowOutputs`.
        prior: see `TextToMel`.
        duration: see `TextToMel`; the sum over tokens is divided by the number of frames.
    """

    def loss(
        params: PyTree, variables: PyTree, batch: PyTree, key: jax.Array, *, train: bool
    ) -> tuple[Metrics, PyTree]:
        mel_BTM, frames_B, lengths_B = batch["mel"], batch["frames"], batch["token_lengths"]
        text = batch["tokens"], lengths_B, batch["speaker"]
        rngs = {"dropout": key} if train else None
        noise = path_noise(batch["keys"], *mel_BTM.shape[1:])
        found = model.apply({"params": params, **variables}, *text, mel_BTM, frames_B, *noise, train=train, rngs=rngs)
        possible_B = frames_B >= lengths_B
        weights_B = batch["mask"] * possible_B
        frames_BT = _within(frames_B, mel_BTM.shape[1]) * weights_B[:, None]
        tokens_BL = _within(lengths_B, batch["tokens"].shape[1]) * weights_B[:, None]
        flow_BT = jnp.square(_wide(found.velocity_BTM) - found.target_BTM).mean(-1)
        prior_BT = 0.5 * (jnp.square(_wide(found.mean_BTM) - mel_BTM).mean(-1) + math.log(2 * math.pi))
        log_durations_BL = jnp.log(jnp.maximum(found.durations_BL, 1).astype(jnp.float32))
        error_BL = jnp.square(_wide(found.log_durations_BL) - log_durations_BL)
        metrics: Metrics = {
            "flow": Mean.from_values(flow_BT, frames_BT),
            "prior": Mean.from_values(prior_BT, frames_BT),
            "duration": Mean.from_values(error_BL, tokens_BL),
            "impossible": Mean.from_values(1.0 - possible_B, batch["mask"]),
        }
        total = metrics["flow"].total + prior * metrics["prior"].total + duration * metrics["duration"].total
        return {"loss": Mean(total, frames_BT.sum()), **metrics}, variables

    return loss


def path_noise(keys_B2: jax.Array, frames: int, bands: int) -> tuple[jax.Array, jax.Array]:
    """Draw from N(0, 1) for each frame, float32 [B, T, M], and a time from 0 to 1 for each row, float32 [B].

    Law: a frame's noise is a function of its row's key and its number, whatever T is.

    Args:
        keys_B2: uint32, a PRNG key for each row.
        frames: T.
        bands: M.
    """

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        at_time, at_frames = jax.random.split(key)
        keys_T = jax.vmap(jax.random.fold_in, (None, 0))(at_frames, jnp.arange(frames))
        return jax.vmap(lambda one: jax.random.normal(one, (bands,)))(keys_T), jax.random.uniform(at_time)

    return jax.vmap(draw)(typed_keys(keys_B2))


def _within(lengths_B: jax.Array, count: int) -> jax.Array:
    return (jnp.arange(count)[None] < lengths_B[:, None]).astype(jnp.float32)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)
