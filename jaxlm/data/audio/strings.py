"""Recordings joined into longer ones, with pauses and noise: sentences from words, numbers from digits."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxlm.data.audio.recordings import FULL, RecordingRows, pad_rows, target_room
from jaxlm.data.epoch import Epoch
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.errors import BadInput

PURPOSE = 8  # separates these draws from all others of an epoch
UNIT = 2.0**-64


@dataclass(frozen=True)
class Strings:
    """Spec: strings of utterances of one speaker, with a pause before, between and after them, and noise over all.

    Everything is drawn again in each epoch, as a function of (seed, epoch, row); in an evaluation, of the row alone.

    Attributes:
        least: utterances in a string at least.
        most: utterances in a string at most.
        pause: shortest and longest pause, in seconds.
        noise: lowest and highest ratio of the power of the speech to that of white noise, in decibels; None: no noise.
        count: strings in an evaluation.
    """

    least: int = 3
    most: int = 7
    pause: tuple[float, float] = (0.05, 0.4)
    noise: tuple[float, float] | None = (15.0, 40.0)
    count: int = 500

    def __post_init__(self) -> None:
        """Check the fields; raises BadInput."""
        if not 1 <= self.least <= self.most or self.count < 1:
            raise BadInput(f"{self}: least is at least 1 and at most `most`, count at least 1")
        for name, pair in (("pause", self.pause), ("noise", self.noise or (0.0, 0.0))):
            if pair[0] > pair[1] or (name == "pause" and pair[0] < 0):
                raise BadInput(f"{self}: {name} has its lower bound first, and no pause is negative")


@dataclass(frozen=True, eq=False)
class StringRows:
    """A source of strings of recordings, for `Shuffled` and `InOrder`.

    Attributes:
        parts: the recordings.
        spec: how they are joined.
        rate: samples a second.
        width: S; what would not fit a string is not said.
        tokenizer: of the targets.
        count: strings in an epoch.
    """

    parts: RecordingRows
    spec: Strings
    rate: int
    width: int
    tokenizer: AnyTokenizer
    count: int

    def __len__(self) -> int:
        return self.count

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return strings as a batch of `RecordingRows.take`, with "row" their numbers; epoch None: an evaluation."""
        found = [self._string(int(row), epoch) for row in rows]
        targets = [self.tokenizer.encode(self._text(parts)) for parts, _ in found]
        batch = pad_rows([samples for _, samples in found], self.width, "audio", "samples")
        batch |= pad_rows(targets, self._room, "targets", "target_lengths", np.int32)
        return batch | {"row": rows.astype(np.int32), "mask": np.ones(len(rows), np.float32)}

    def texts(self) -> list[str]:
        """Return the texts of the strings of an evaluation."""
        return [self._text(self._string(row, None)[0]) for row in range(self.count)]

    def fingerprint(self) -> str:
        """Return a SHA-256 over the recordings and how they are joined."""
        parts, tokenizer = self.parts.fingerprint(), self.tokenizer.fingerprint()
        return json_sha256("strings", parts, tokenizer, repr(self.spec), self.rate, self.width, self.count)

    @cached_property
    def _room(self) -> int:
        """L: the most tokens that a string can have, one more between two texts included."""
        return target_room(self.spec.most * (1 + max(len(target) for target in self.parts.targets)))

    @cached_property
    def _of_speaker(self) -> dict[str, np.ndarray]:
        speakers = np.array(self.parts.speakers or [""] * len(self.parts))
        return {speaker: np.flatnonzero(speakers == speaker) for speaker in sorted(set(speakers.tolist()))}

    def _text(self, parts: list[int]) -> str:
        return " ".join(self.parts.texts[self.parts.numbers[part]] for part in parts)

    def _string(self, row: int, epoch: Epoch | None) -> tuple[list[int], np.ndarray]:
        """Return the numbers of the recordings in a string, and its samples, int16."""
        seeds = (0, 0) if epoch is None else (epoch.seed if epoch.noise is None else epoch.noise, epoch.number + 1)
        generator = np.random.Philox(np.random.SeedSequence([*seeds, PURPOSE, row]))
        draws = generator.random_raw(2 * self.spec.most + 4) * UNIT
        chosen, pauses, (length, speaker, level) = np.split(draws[:-1], [self.spec.most, 2 * self.spec.most])
        names = list(self._of_speaker)
        own = self._of_speaker[names[int(speaker * len(names))]]
        wanted = self.spec.least + int(length * (self.spec.most - self.spec.least + 1))
        parts = [int(own[int(draw * len(own))]) for draw in chosen[:wanted]]
        low, high = self.spec.pause
        gaps = [int((low + draw * (high - low)) * self.rate) for draw in [draws[-1], *pauses[:wanted]]]
        pieces, used = [np.zeros(gaps[0], np.int16)], gaps[0]
        for place, part in enumerate(parts):
            samples = self.parts.samples[part]
            if place and used + len(samples) + gaps[place + 1] > self.width:
                parts = parts[:place]
                break
            pieces += [samples, np.zeros(gaps[place + 1], np.int16)]
            used += len(samples) + gaps[place + 1]
        return parts, self._noisy(np.concatenate(pieces)[: self.width], generator, level)

    def _noisy(self, samples: np.ndarray, generator: np.random.Philox, level: float) -> np.ndarray:
        """Return samples with white noise at a level from 0 to 1 within the range of the spec."""
        if self.spec.noise is None:
            return samples
        low, high = self.spec.noise
        speech = samples[samples != 0].astype(np.float64)
        power = np.square(speech).mean() / 10 ** ((low + level * (high - low)) / 10) if len(speech) else 0.0
        noisy = samples + np.sqrt(power) * white_noise(generator, len(samples))
        return np.clip(np.rint(noisy), -FULL, FULL - 1).astype(np.int16)


def white_noise(generator: np.random.Philox, count: int) -> np.ndarray:
    """Return noise of mean 0 and variance 1, float64 [count]: the sum of four uniform numbers, nearly normal.

    It is made of raw words, which NumPy keeps the same in every release.
    """
    quarters = generator.random_raw(count).view(np.uint16).reshape(count, 4)
    return (quarters.sum(1, dtype=np.int64) - 2.0 * (2**16 - 1)) / (2**16 * (4 / 12) ** 0.5)
