"""Recordings with their texts, decoded into memory, and batches of them.

S samples, B utterances in a batch, L tokens of a target, N utterances in all.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.audio.files import Sound, read_sound, to_mono
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.data.readers.text import is_blank
from jaxlm.errors import BadInput, join_reasons

FULL = 32768  # an int16 sample of this would be 1.0
ROOM = 8  # target widths are multiples of it, so that few programs are compiled


class Utterance(NamedTuple):
    """A recording, or a part of one, and what is said in it.

    Attributes:
        path: of the sound file.
        text: what is said.
        where: its place for a message, such as a file and a line.
        speaker: who says it; "" where that is not known.
        start: seconds from the beginning of the file to that of the part.
        end: seconds from the beginning of the file to the end of the part; None: that of the file.
    """

    path: Path
    text: str
    where: str
    speaker: str = ""
    start: float = 0.0
    end: float | None = None


class DecodedSpeech(NamedTuple):
    """Utterances in memory, at one rate.

    Attributes:
        samples: int16 [S], for each utterance.
        resampled: how many had another rate.
        mixed: how many had several channels.
    """

    samples: list[np.ndarray]
    resampled: int
    mixed: int


def decode_all(utterances: Sequence[Utterance], rate: int) -> DecodedSpeech:
    """Decode the sound of utterances on all cores.

    Raises:
        BadInput: some cannot be read, or have no text; all of them are named with their places.
    """

    def decode(one: Utterance) -> tuple[np.ndarray, int, int] | BadInput:
        try:
            if is_blank(one.text):
                raise BadInput("the text is empty: write it, or take the line out")
            sound = _part(read_sound(one.path), one)
            return to_pcm(to_mono(sound, rate)), sound.rate, sound.samples.shape[1]
        except BadInput as error:
            return BadInput(f"{one.where}: {error}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(decode, utterances))
    broken = [str(result) for result in found if isinstance(result, BadInput)]
    if broken:
        raise BadInput(join_reasons(broken))
    whole = [result for result in found if not isinstance(result, BadInput)]
    rates, channels = (np.array([result[n] for result in whole], np.int64) for n in (1, 2))
    return DecodedSpeech([result[0] for result in whole], int((rates != rate).sum()), int((channels > 1).sum()))


def _part(sound: Sound, one: Utterance) -> Sound:
    """Return the part of a file that an utterance is."""
    length = len(sound.samples) / sound.rate
    end = length if one.end is None else one.end
    first, last = round(one.start * sound.rate), round(end * sound.rate)
    if not 0 <= one.start < end <= length + 0.01 or not first < min(last, len(sound.samples)):
        raise BadInput(f"{one.path} lasts {length:.2f} s, and the part is from {one.start} to {end} s: correct them")
    return Sound(sound.samples[first:last], sound.rate)


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Return samples in -1 .. 1 as int16, half the memory of floats; what is beyond is clipped."""
    return np.clip(np.rint(samples * np.float32(FULL)), -FULL, FULL - 1).astype(np.int16)


@dataclass(frozen=True, eq=False)
class RecordingRows:
    """Utterances in memory as rows for `Bucketed`.

    Attributes:
        samples: int16 [S], for each utterance.
        targets: int32 [L], for each utterance.
        numbers: int32 [N], the number of each utterance in its split.
        texts: what is said, by number of the utterance in its split.
        speakers: who says it, for each utterance.
    """

    samples: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]
    numbers: np.ndarray
    texts: Sequence[str] = ()
    speakers: Sequence[str] = ()
    _rooms: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def sizes(self) -> np.ndarray:
        """The number of samples of each row, int64 [N]."""
        return np.array([len(row) for row in self.samples], np.int64)

    def take(self, rows: np.ndarray, width: int) -> Batch:
        """Return rows padded to one width.

        Args:
            rows: int64 [B]; -1 is a row of padding, zero everywhere.
            width: S, at least the length of every row.

        Returns:
            "audio" int16 [B, S] and "samples" int32 [B], its length; "targets" int32 [B, L] and "target_lengths"
            int32 [B], with L the same for all batches of a width; "row" int32 [B], the number of the utterance in its
            split; "mask" float32 [B].
        """
        real, chosen = rows >= 0, np.maximum(rows, 0)
        batch = pad_rows([self.samples[row] if row >= 0 else _NOTHING for row in rows], width, "audio", "samples")
        targets = [self.targets[row] if row >= 0 else _NOTHING for row in rows]
        batch |= pad_rows(targets, self._room(width), "targets", "target_lengths", np.int32)
        batch["row"] = np.where(real, self.numbers[chosen], 0).astype(np.int32)
        return batch | {"mask": real.astype(np.float32)}

    def _room(self, width: int) -> int:
        """Return L for a width: it holds the targets of all rows that the width holds."""
        if width not in self._rooms:
            fitting = [len(target) for target, size in zip(self.targets, self.sizes, strict=True) if size <= width]
            self._rooms[width] = target_room(max(fitting, default=1))
        return self._rooms[width]

    def fingerprint(self) -> str:
        """Return a SHA-256 over samples and targets."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        lengths = np.array([len(target) for target in self.targets], np.int64)
        rows = ArraySource({"sizes": self.sizes, "lengths": lengths, "numbers": self.numbers})
        cells = (ArraySource({"": np.concatenate(x)}).fingerprint() for x in (self.samples, self.targets))
        return json_sha256("recordings", rows.fingerprint(), *cells)


_NOTHING = np.zeros(0, np.int16)


def target_room(length: int) -> int:
    """Return the width of targets that holds this many tokens: a multiple of `ROOM`."""
    return -(-max(length, 1) // ROOM) * ROOM


def pad_rows(rows: Sequence[np.ndarray], width: int, name: str, lengths: str, dtype: type = np.int16) -> Batch:
    """Return rows of different lengths padded with zeros, [B, width], and their lengths, int32 [B], by these names."""
    padded: np.ndarray = np.zeros((len(rows), width), dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return {name: padded, lengths: np.array([len(row) for row in rows], np.int32)}
