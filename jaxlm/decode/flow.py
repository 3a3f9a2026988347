"""Speak a text: durations, then the path from noise to a mel spectrogram.

B batch, L tokens, T frames, M mel bands.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlm.errors import BadInput
from jaxlm.steps import Model

SLOWEST, FASTEST = 0.25, 4.0  # speeds: the room for frames, and so the memory, grows with 1 / speed


class Utterances(NamedTuple):
    """Spoken texts.

    Attributes:
        mel_BTM: normalised log-mel bands, 0 behind the frames of a row.
        frames_B: int32, the frames of each row: the sum of its durations, which may be more than T.
        durations_BL: int32, the frames of each token, 0 on padding.
    """

    mel_BTM: jax.Array
    frames_B: jax.Array
    durations_BL: jax.Array


@dataclass(frozen=True)
class Speak:
    """Spec of how texts are spoken by a model such as `jaxlm.models.matcha.Matcha`.

    Attributes:
        steps: of Euler's method along the path.
        temperature: what the noise at its beginning is multiplied by; 0 speaks a text in one way only.
        speed: what the predicted durations are divided by, 0.25 to 4.
        frames: of a token, on average, that there is room for.
        pause: seconds between the words of a text whose tokenizer has no space.
        iterations: of the Griffin-Lim algorithm, where there is no vocoder.
        vocoder: the run of a vocoder; None: the Griffin-Lim algorithm.
    """

    steps: int = 10
    temperature: float = 0.667
    speed: float = 1.0
    frames: int = 16
    pause: float = 0.15
    iterations: int = 60
    vocoder: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        numbers = self.temperature, self.speed, self.pause
        if self.steps < 1 or self.frames < 1 or self.iterations < 0 or not all(map(math.isfinite, numbers)):
            raise BadInput(f"decode is {self}: steps and frames are at least 1, iterations at least 0, all finite")
        if self.temperature < 0 or not SLOWEST <= self.speed <= FASTEST or self.pause < 0:
            raise BadInput(f"decode is {self}: speed is {SLOWEST} to {FASTEST}, temperature and pause at least 0")

    def __call__(
        self,
        model: Model,
        variables: Any,
        tokens_BL: jax.Array,
        lengths_B: jax.Array,
        speakers_B: jax.Array,
        noise_BTM: jax.Array,
        speed_B: jax.Array,
    ) -> Utterances:
        """Speak texts.

        Law: the frames of a row depend on its own tokens, speaker, noise and speed alone.

        Args:
            model: its `apply` has the methods "encode" and "velocity".
            variables: of the model.
            tokens_BL: int32, with their boundaries.
            lengths_B: int32, tokens of each row.
            speakers_B: int32, who speaks.
            noise_BTM: the beginning of the path, from N(0, temperature^2); its T is the room that there is.
            speed_B: float32.
        """
        text = model.apply(variables, tokens_BL, lengths_B, speakers_B, method="encode")
        inside_BL = jnp.arange(tokens_BL.shape[1])[None] < lengths_B[:, None]
        lengths_BL = jnp.exp(text.log_durations_BL.astype(jnp.float32)) / speed_B[:, None]
        durations_BL = jnp.where(inside_BL, jnp.maximum(jnp.rint(lengths_BL), 1), 0).astype(jnp.int32)
        frames_B, room = durations_BL.sum(1), noise_BTM.shape[1]
        mean_BTM = model.apply(variables, text.mean_BLM, durations_BL, room, method="spread")

        def move(point_BTM: jax.Array, time: jax.Array) -> tuple[jax.Array, None]:
            times_B = jnp.full(lengths_B.shape[0], time)
            slope_BTM = model.apply(
                variables, point_BTM.astype(mean_BTM.dtype), mean_BTM, frames_B, times_B, speakers_B, method="velocity"
            )
            return point_BTM + slope_BTM.astype(jnp.float32) / self.steps, None

        times = jnp.arange(self.steps, dtype=jnp.float32) / self.steps
        mel_BTM, _ = jax.lax.scan(move, noise_BTM, times)
        inside_BT = jnp.arange(room)[None] < frames_B[:, None]
        return Utterances(jnp.where(inside_BT[..., None], mel_BTM, 0), frames_B, durations_BL)
