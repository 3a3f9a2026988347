"""Recordings as examples of voices: texts with boundaries, speakers by number, and normalised log-mel bands.

B utterances in a batch, L tokens, S samples, T frames, M mel bands.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.augment import to_float
from jaxlm.data.audio.recordings import RecordingRows
from jaxlm.data.audio.sources import LibriSpeech, LJSpeech, Manifest, SpokenDigits
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.utterances import SpeechRows
from jaxlm.data.model_checks import read_size
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.ragged import Bucketed, check_widths
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput

SPEAKERS = "speakers.json"  # the artefact with the names of the voices, by number


@dataclass(frozen=True, eq=False)
class VoiceRows:
    """Rows of recordings for `Bucketed`, with the number of the speaker as "speaker" int32 [B].

    Attributes:
        rows: the recordings.
        speakers: int32 [N], who speaks, by number of the utterance in its split.
    """

    rows: RecordingRows
    speakers: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> np.ndarray:
        """The number of samples of each row, int64 [N]."""
        return self.rows.sizes

    def take(self, rows: np.ndarray, width: int) -> Batch:
        """Return the batch of `RecordingRows.take` with its speakers."""
        batch = self.rows.take(rows, width)
        return batch | {"speaker": self.speakers[batch["row"]]}

    def fingerprint(self) -> str:
        """Return a SHA-256 over recordings and speakers."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return json_sha256("voices", self.rows.fingerprint(), self.speakers.tolist())


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the specs of recordings for synthesis share, see `Voices` and `Sounds`.

    Batches are those of `Speech` with "speaker" int32 [B]; `prepare` makes of them, inside a step, what models read.

    Attributes:
        speech: the recordings. Its `features` are the spectrogram; what is drawn for recognition (`augment`,
            `spec_augment`, `strings`) is not used and must not be set.
        centre: what is about the mean of the log-mel bands; it is subtracted from them ...
        spread: ... and about their standard deviation; they are divided by it.
    """

    speech: SpokenDigits | LJSpeech | LibriSpeech | Manifest = field(default_factory=SpokenDigits)
    centre: float = -6.0
    spread: float = 2.5

    @property
    def features(self) -> LogMel:
        """Return the spectrogram."""
        return self.speech.features

    @property
    def batch(self) -> int:
        """Return the utterances in a training batch."""
        return self.speech.batch

    @property
    def eval_batch(self) -> int | None:
        """Return the utterances in an evaluation batch."""
        return self.speech.eval_batch

    @property
    def speakers(self) -> tuple[str, ...]:
        """Return the names of the voices, by number: the speakers of the training data."""
        return tuple(sorted(set(self.speech.loaded().train.rows.speakers)))

    def train(self, seed: int = 0, noise: int | None = None) -> Bucketed:
        """Return the training batches, with "keys"."""
        rows = self._rows(self.speech.loaded().train)
        return Bucketed(rows, self.batch, self.speech.widths, seed, noise, keys=True)  # type: ignore[arg-type]

    def eval(self) -> Bucketed:
        """Return the evaluation batches: every utterance exactly once."""
        rows = self._rows(self.speech.loaded().eval)
        return Bucketed(rows, self.eval_batch or self.batch, self.speech.widths, keys=True)  # type: ignore[arg-type]

    def _rows(self, split: SpeechRows) -> VoiceRows:
        """Return a split with its speakers.

        Raises:
            BadInput: a speaker of the evaluation is not among those of the training data.
        """
        names, speakers = self.speakers, np.zeros(len(split.places), np.int32)
        for number, name in zip(split.rows.numbers, split.rows.speakers, strict=True):
            if name not in names:
                raise BadInput(f"{split.places[number]}: speaker {name!r} has no recordings for training: add some")
            speakers[number] = names.index(name)
        return VoiceRows(split.rows, speakers)

    def references(self) -> Sequence[str]:
        """Return what is said in the evaluation, by the "row" of a batch."""
        return self.speech.references()

    def prepare(self, batch: Any) -> Any:
        """Put what a vocoder reads into a batch, instead of texts; for use inside a step.

        Returns:
            "audio" float32 [B, S]; "mel" float32 [B, T, M], normalised, 0 on padding; "frames" int32 [B]; and all else
            that the batch has, but targets.
        """
        audio, frames = to_float(batch["audio"]), self.features.frames(batch["samples"])
        mel = self.normalised(self.features(audio, batch["samples"]))
        mel = jnp.where((jnp.arange(mel.shape[1])[None] < frames[:, None])[..., None], mel, 0)
        kept = {name: x for name, x in batch.items() if name not in ("targets", "target_lengths")}
        return kept | {"audio": audio, "mel": mel, "frames": frames}

    @property
    def boundary(self) -> int:
        """The token before and after a text, the last of the model's: its frames are the silence at both ends."""
        return self.build_tokenizer().vocab

    def normalised(self, mel: Any) -> Any:
        """Return log-mel bands as models read them."""
        return (mel - self.centre) / self.spread

    def restored(self, normalised: Any) -> Any:
        """Return the log-mel bands that were normalised."""
        return normalised * self.spread + self.centre

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of the texts."""
        return self.speech.build_tokenizer()

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json and speakers.json."""
        return self.speech.artefacts() | {SPEAKERS: json.dumps(self.speakers)}

    def log_lines(self) -> list[str]:
        """Return a line about each split, one about the voices, and what has fewer frames than tokens."""
        named = ", ".join(name or "one without a name" for name in self.speakers)
        lines = [*self.speech.log_lines(), f"voices: {named}"]
        loaded = self.speech.loaded()
        for name, split in (("train", loaded.train), ("eval", loaded.eval)):
            frames, tokens = self.features.frames(split.rows.sizes), [len(row) + 2 for row in split.rows.targets]
            if short := int((frames < np.array(tokens)).sum()):
                lines.append(f"{name} data: {short:,} texts with fewer frames than tokens, which weigh nothing")
        return lines

    def example(self) -> tuple[np.ndarray, ...]:
        """Return what a model is initialised with."""
        raise NotImplementedError

    def sizes(self) -> dict[str, int]:
        """Return the sizes of a model that fits, by field."""
        raise NotImplementedError

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.speech.throughput()

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model.

        Args:
            model: has the fields of `sizes`.
            repeat: updates in one compiled program.
        """
        check_widths(self.speech.widths, repeat)
        for name in ("augment", "strings"):
            if getattr(self.speech, name):
                raise BadInput(f"data.speech.{name} is set, and voices are learned from recordings as they are")
        for name, size in self.sizes().items():
            if (found := read_size(model, name)) != size:
                raise BadInput(f"model.{name} is {found}, and the data have {size}: set --model.{name} {size}")
        if self.spread <= 0:
            raise BadInput(f"data.spread is {self.spread}: it must be above 0")
        self.train(), self.eval()


@dataclass(frozen=True, kw_only=True)
class Voices(Recorded):
    """Spec: recordings with their texts, and who speaks, for a model that speaks."""

    def prepare(self, batch: Any) -> Any:
        """Put what a model reads that speaks into a batch, see `Recorded.prepare`.

        Returns:
            Also "tokens" int32 [B, L] and "token_lengths" int32 [B], the texts with a boundary before and after.
        """
        lengths = batch["target_lengths"]
        places = jnp.arange(batch["targets"].shape[1] + 2)[None]
        edge = (places == 0) | (places == lengths[:, None] + 1)
        tokens = jnp.where(edge, self.boundary, jnp.pad(batch["targets"], ((0, 0), (1, 1))))
        return super().prepare(batch) | {"tokens": tokens, "token_lengths": lengths + 2}

    def example(self) -> tuple[np.ndarray, ...]:
        """Return what a model is initialised with, see `Matcha.__call__`."""
        one, tokens = np.ones(1, np.int32), np.zeros((1, 1), np.int32)
        mel = np.zeros((1, 1, self.features.bands), np.float32)
        return tokens, one, 0 * one, mel, one, mel, np.zeros(1, np.float32)

    def sizes(self) -> dict[str, int]:
        """Return the sizes of a model that fits, by field."""
        return {"bands": self.features.bands, "vocab": self.boundary + 1, "speakers": len(self.speakers)}


@dataclass(frozen=True, kw_only=True)
class Sounds(Recorded):
    """Spec: recordings for a vocoder, which reads their spectrograms alone."""

    def example(self) -> tuple[np.ndarray, ...]:
        """Return what a model is initialised with: float32 zeros [1, 1, M], and one frame."""
        return np.zeros((1, 1, self.features.bands), np.float32), np.ones(1, np.int32)

    def sizes(self) -> dict[str, int]:
        """Return the sizes of a model that fits, by field."""
        return {"bands": self.features.bands, "fft": self.features.stft.size}


def read_speakers(text: str) -> tuple[str, ...]:
    """Return the names of the voices that a run has kept.

    Raises:
        BadInput: it is not a list of names.
    """
    match parse_json(text, SPEAKERS):
        case list(names) if names and all(isinstance(name, str) for name in names):
            return tuple(names)
    raise BadInput(f"{SPEAKERS} of the run is not a list of names: take the file from the run again")
