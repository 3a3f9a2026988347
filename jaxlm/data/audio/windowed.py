"""Recordings for models that read windows of one length and write text, such as Whisper.

B utterances in a batch, S samples of a window, F frames, M mel bands, L tokens of a target, P tokens of a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.augment import SpecAugment, to_float
from jaxlm.data.audio.recordings import RecordingRows
from jaxlm.data.audio.sources import Manifest
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.utterances import LoadedSpeech, SpeechRows
from jaxlm.data.tokenizers.specs import Pretrained
from jaxlm.errors import BadInput

SILENCE = " ..."  # what is said where there are no recordings
RANGE = 8.0  # powers of ten below the loudest band that are kept


@dataclass(frozen=True, kw_only=True)
class SpokenText(Manifest):
    """Spec: as `Manifest`, in windows of one length that are filled up with silence, with Whisper's features.

    Attributes:
        train_file: for training; None: a second of silence, so that weights can be imported without recordings.
        eval_file: for evaluation; None: as `train_file`.
        widths: the samples of the window, alone.
        tokenizer: of the texts, that of the model.
    """

    train_file: str | None = None  # type: ignore[assignment]
    eval_file: str | None = None  # type: ignore[assignment]
    widths: tuple[int, ...] = (480000,)
    lower: bool = False
    tokenizer: Pretrained = field(default_factory=lambda: Pretrained("whisper-tiny"))
    features: LogMel = field(default_factory=lambda: LogMel(ends="reflect"))
    spec_augment: SpecAugment | None = None

    def loaded(self) -> LoadedSpeech:
        """Return both splits, decoded once a process; see `Speech.loaded`."""
        if self.train_file is not None and self.eval_file is not None:
            return super().loaded()
        if self.train_file is not None or self.eval_file is not None:
            raise BadInput("one of data.train_file and data.eval_file is None: name the other file too")
        tokenizer = self.tokenizer.build(())
        target = tokenizer.encode(SILENCE).astype(np.int32)
        rows = RecordingRows([np.zeros(self.rate, np.int16)], [target], np.zeros(1, np.int32), [SILENCE], [""])
        silence = SpeechRows(rows, ["the second of silence"], {"recordings": 0, "seconds": 0})
        return LoadedSpeech(silence, silence, tokenizer)

    def normalise(self, texts: Sequence[str]) -> list[str]:
        """Return texts as Whisper writes them: cleaned, each with a space before it."""
        return [f" {text.strip()}" for text in super().normalise(texts)]

    def example(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a model is initialised with: features float32 [1, F, M] and a target token, int32 [1, 1]."""
        frames = self.widths[-1] // self.features.hop
        return np.zeros((1, frames, self.features.bands), np.float32), np.zeros((1, 1), np.int32)

    def prepare(self, batch: Any) -> Any:
        """Put "features" float32 [B, F, M] and "frames" int32 [B] instead of "audio"; for use inside a step."""
        if "features" in batch:
            return batch
        audio_BS = to_float(batch["audio"])
        features = window_features(self.features, audio_BS, self.widths[-1])
        frames = jnp.full(audio_BS.shape[0], features.shape[1], jnp.int32)
        return {**{name: x for name, x in batch.items() if name != "audio"}, "features": features, "frames": frames}

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model.

        Args:
            model: has `vocab`, `bands`, `source_context` and `context`.
            repeat: see `Speech.check`.
        """
        super().check(model, repeat)
        window = 2 * model.source_context * self.features.hop
        if self.widths != (window,) or self.strings is not None:
            raise BadInput(
                f"data.widths is {self.widths}, and this model reads windows of {window} samples: set --data.widths "
                f"{window}, and no data.strings"
            )
        for split in (self.loaded().train, self.loaded().eval):
            for number, target in zip(split.rows.numbers, split.rows.targets, strict=True):
                if len(target) + LONGEST_PROMPT > model.context:
                    raise BadInput(
                        f"{split.places[number]}: the text has {len(target)} tokens, and the model's context is "
                        f"{model.context} with those of its prompt: cut the recording into shorter ones"
                    )


LONGEST_PROMPT = 4  # start, language, task, no times


def window_features(mel: LogMel, audio_BN: jax.Array, window: int) -> jax.Array:
    """Return Whisper's features of windows of sound, float32 [B, window // hop, M].

    Sound is cut or filled up with silence to the window, so there is one frame for each hop. Bands are log10 of the
    power, not below 8 less than the loudest of the window, and moved by (x + 4) / 4 to about -1 .. 1.

    Args:
        mel: the bands; Whisper's have `ends="reflect"`.
        audio_BN: samples in -1 .. 1.
        window: samples of a window.
    """
    audio_BS = audio_BN[:, :window]
    audio_BS = jnp.pad(audio_BS, ((0, 0), (0, window - audio_BS.shape[1])))
    log_BFM = mel(audio_BS)[:, : window // mel.hop] / np.float32(np.log(10))
    floor_B11 = log_BFM.max((1, 2), keepdims=True) - RANGE
    return (jnp.maximum(log_BFM, floor_B11) + 4.0) / 4.0


def with_prompt(batch: Any, prompt: tuple[int, ...], end: int) -> Any:
    """Return a batch as `losses.sequence_to_sequence` reads it: each target after the prompt, and the end after it.

    The first token of the prompt is the one that the loss begins with, so targets begin with the second one.

    Args:
        batch: "features" float32 [B, F, M], "targets" int32 [B, L], "target_lengths" int32 [B], and "mask" float32 [B].
        prompt: tokens.
        end: the token that ends a target.

    Returns:
        "tokens", which are the features, and "targets" and "target_segments" int32 [B, P + L], beside the rest.
    """
    text_BL, lengths_B = batch["targets"], batch["target_lengths"]
    before = len(prompt) - 1
    prompt_BP = jnp.broadcast_to(jnp.array(prompt[1:], jnp.int32), (len(text_BL), before))
    targets_BT = jnp.concatenate([prompt_BP, text_BL, jnp.zeros((len(text_BL), 1), jnp.int32)], 1)
    last_B1 = before + lengths_B[:, None]
    place_T = jnp.arange(targets_BT.shape[1])[None]
    real_BT = (place_T <= last_B1) & (batch["mask"][:, None] > 0)
    targets_BT = jnp.where(place_T == last_B1, end, targets_BT)
    return {**batch, "tokens": batch["features"], "targets": targets_BT, "target_segments": real_BT.astype(jnp.int32)}
