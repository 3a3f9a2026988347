"""Turn mel spectrograms into sound, by a trained vocoder or by the Griffin-Lim algorithm; and copy recordings by them.

T frames, M mel bands, S samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.griffin_lim import griffin_lim, magnitudes
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, in_evaluation, zeros
from jaxlm.predict.sound.speech import ReadSpeech
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import read_run
from jaxlm.steps import LossFn

ROOM = 32  # mel spectrograms are padded to multiples of so many frames, so that few programs are compiled
Vocode = Callable[[np.ndarray], np.ndarray]


def sound_of(config: Any) -> Callable[[Any, Any], jax.Array]:
    """Return the function (variables, prepared batch) -> sound float32 [B, S] of a config of a vocoder."""
    model, stft = config.model, config.data.features.stft

    def sound(variables: Any, batch: Any) -> jax.Array:
        spectra_BTF = model.apply(variables, batch["mel"], batch["frames"])
        return stft.inverse(spectra_BTF, batch["audio"].shape[1])

    return sound


def copied(config: Any) -> LossFn:
    """Return a function with the arguments of a loss that gives {"sound": float32 [B, S], "samples": int32 [B]}."""
    sound = sound_of(config)

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        return {"sound": sound({"params": params, **variables}, batch), "samples": batch["samples"]}, variables

    return function


def by_griffin_lim(features: LogMel, iterations: int) -> Vocode:
    """Return the function from log-mel bands [T, M] to sound [(T - 1) * hop] of the Griffin-Lim algorithm."""
    return partial(_padded, partial(_phases, features, iterations), features)


@partial(jax.jit, static_argnums=(0, 1))
def _phases(features: LogMel, iterations: int, mel_TM: jax.Array, frames: jax.Array) -> jax.Array:
    inside_T1 = (jnp.arange(len(mel_TM)) < frames)[:, None]
    sizes_TF = jnp.where(inside_T1, magnitudes(features, mel_TM[None])[0], 0)
    return griffin_lim(features.stft, sizes_TF[None], (len(mel_TM) - 1) * features.hop, iterations)[0]


@lru_cache(maxsize=4)
def load_vocoder(path: str, features: LogMel) -> Vocode:
    """Return the function from log-mel bands [T, M] to sound [(T - 1) * hop] of the run of a vocoder.

    Args:
        path: of the run.
        features: the spectrogram of what is to be spoken.

    Raises:
        BadInput: no run of a vocoder, or one that was trained on other spectrograms.
    """
    home = RunDirectory.existing(path)
    config = home.config()
    data = config.data
    if not hasattr(config.model, "fft"):
        raise BadInput(f"{path} is not a run of a vocoder: train one with experiments/vocoder.py, or leave it out")
    if data.features != features:
        raise BadInput(f"the vocoder {path} reads other spectrograms, {data.features}, and the voice makes {features}")
    variables = jax.tree.map(jnp.asarray, read_run(home, None))

    @jax.jit
    def sound(mel_TM: jax.Array, frames: jax.Array) -> jax.Array:
        spectra = config.model.apply(variables, data.normalised(mel_TM)[None], frames[None])
        return features.stft.inverse(spectra, (len(mel_TM) - 1) * features.hop)[0]

    return partial(_padded, sound, features)


def _padded(function: Callable[..., jax.Array], features: LogMel, mel_TM: np.ndarray) -> np.ndarray:
    """Apply a compiled function to a padded spectrogram, and return its own samples."""
    frames = len(mel_TM)
    room = -(-frames // ROOM) * ROOM
    silence = np.log(features.floor)
    padded = np.pad(mel_TM, ((0, room - frames), (0, 0)), constant_values=silence).astype(np.float32)
    sound = np.asarray(function(padded, np.int32(frames)))
    return np.clip(sound[: max(frames - 1, 1) * features.hop], -1, 1)


@dataclass(frozen=True)
class WriteCopy:
    """Answer with {"samples": a list of floats in -1 .. 1, "rate", "seconds"}: the recording as the vocoder makes it.

    Attributes:
        rate: samples a second.
    """

    rate: int

    def __call__(self, outputs: Sequence[Example], context: Any) -> Answer:
        """Return the answer for one recording."""
        del context
        sound = np.clip(outputs[0]["sound"][: outputs[0]["samples"]], -1, 1)
        return {"samples": sound.tolist(), "rate": self.rate, "seconds": len(sound) / self.rate}


def copier(function: LossFn, config: Any) -> Predictor:
    """Compose the predictor of a run of a vocoder, which copies recordings through their mel spectrograms.

    Args:
        function: `copied(config)` under the transforms that the loss is under.
        config: of the run.
    """
    speech = config.data.speech
    batch = speech.eval_batch or speech.batch
    rows = ({"audio": np.zeros(width, np.int16), "samples": np.zeros((), np.int32)} for width in speech.widths)
    examples = tuple(zeros(row, batch) for row in rows)
    return Predictor(ReadSpeech(speech.rate, speech.widths), in_evaluation(function), WriteCopy(speech.rate), examples)
