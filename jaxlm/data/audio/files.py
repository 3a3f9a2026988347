"""Read and write sound files: WAV, FLAC, OGG, MP3 and what else libsndfile knows. Home of soundfile and soxr."""

import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.readers.text import read_bytes
from jaxlm.errors import BadInput

BLOCK = 1 << 18  # samples that are decoded at a time, of all channels: what a header promises is not trusted
MAX_SAMPLES = 3600 * 48_000 * 2  # of all channels: an hour at 48 kHz in stereo, 1.4 GB; silence packs into a few kB


class Sound(NamedTuple):
    """What a file holds.

    Attributes:
        samples: float32 [S, C] in -1 .. 1, S samples of C channels.
        rate: samples a second.
    """

    samples: np.ndarray
    rate: int


def read_audio(source: str | Path | bytes, rate: int) -> np.ndarray:
    """Return a sound file as one channel at a rate.

    Several channels are mixed into their mean, and another rate is changed into this one by soxr (very high quality,
    band limited): the sound keeps its pitch and its duration to within a sample.

    Args:
        source: a file, or the bytes of one.
        rate: samples a second of the result.

    Returns:
        float32 [S].

    Raises:
        BadInput: it cannot be read, holds no sample, more than `MAX_SAMPLES`, also at the new rate, or a value that
            is not a number.
    """
    return to_mono(read_sound(source), rate)


def read_sound(source: str | Path | bytes) -> Sound:
    """Return a sound file as it is.

    Args:
        source: a file, or the bytes of one.

    Raises:
        BadInput: as `read_audio`.
    """
    name = "the sound" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else read_bytes(Path(source).expanduser())
    soundfile = _library("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples, rate, promised = _decode(file, name), file.samplerate, file.frames
    except BadInput:  # a ValueError, too
        raise
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # a TypeError for headerless formats
        reason = str(error).rpartition(": ")[2].strip(". ")
        raise BadInput(f"{name} is not a readable sound file ({reason}): repair it or leave it out") from None
    if not len(samples):
        raise BadInput(f"{name} holds no samples: record it again or leave it out")
    if len(samples) < promised:
        raise BadInput(
            f"{name} ends after {len(samples):,} of {promised:,} samples: get the file again or leave it out"
        )
    if not np.isfinite(samples).all():
        first = int(np.flatnonzero(~np.isfinite(samples).all(1))[0])
        raise BadInput(f"sample {first:,} of {name} is not a finite number: repair it or leave it out")
    return Sound(samples, rate)


def _decode(file: Any, name: str) -> np.ndarray:
    """Return all samples of an open file, float32 [S, C]; raises BadInput past `MAX_SAMPLES` of them."""
    size, found = max(1, BLOCK // file.channels), 0
    blocks: list[np.ndarray] = []
    while not blocks or len(blocks[-1]):
        blocks.append(file.read(size, dtype="float32", always_2d=True))
        found += blocks[-1].size
        if found > MAX_SAMPLES:
            raise BadInput(f"{name} holds more than {MAX_SAMPLES:,} samples of all channels: cut it into shorter parts")
    return np.concatenate(blocks)


def to_mono(sound: Sound, rate: int) -> np.ndarray:
    """Return a sound as one channel at a rate, see `read_audio`; float32 [S]."""
    mono = sound.samples[:, 0] if sound.samples.shape[1] == 1 else sound.samples.mean(1, dtype=np.float32)
    return resample(mono, sound.rate, rate)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Return samples [S] of one rate at another one, float32 [S * new_rate / rate, rounded, at least 1].

    Raises:
        BadInput: these would be more than `MAX_SAMPLES`.
    """
    if rate == new_rate:
        return np.ascontiguousarray(samples, np.float32)
    size = max(1, round(len(samples) * new_rate / rate))  # soxr gives a sample more or less, and of one sample none
    if size > MAX_SAMPLES:
        raise BadInput(
            f"{len(samples):,} samples at {rate} Hz are {size:,} at {new_rate} Hz, and at most {MAX_SAMPLES:,} can be: "
            "cut it into shorter parts, or correct the rate in its header"
        )
    changed = _library("soxr").resample(samples, rate, new_rate, quality="VHQ")
    return np.pad(changed[:size], (0, size - len(changed[:size]))).astype(np.float32)


def write_wav(path: str | Path, samples: np.ndarray, rate: int) -> int:
    """Write a WAV file of 16 bits, whole or not at all.

    Args:
        path: of the file, in a folder that is there.
        samples: floats in -1 .. 1, [S] or [S, C]; what is beyond is clipped.
        rate: samples a second.

    Returns:
        How many samples were clipped.

    Raises:
        BadInput: no samples, one that is not a number, or the file cannot be written.
    """
    path = Path(path).expanduser()
    try:
        content = encode_wav(samples, rate)
    except BadInput as error:
        raise BadInput(f"{path} {error}") from None
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): make its folder, or name another file") from None
    return int((np.abs(np.asarray(samples, np.float64)) > 1).sum())


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Return the content of a WAV file of 16 bits, see `write_wav`."""
    values = np.asarray(samples, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise BadInput("would hold no samples, or some that are not finite numbers: look at what made them")
    content = io.BytesIO()
    whole = np.clip(np.rint(values * 32768), -32768, 32767).astype(np.int16)
    _library("soundfile").write(content, whole, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def _library(name: str) -> ModuleType:
    """Import soundfile or soxr.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return __import__(name)
    except (ImportError, OSError) as error:  # an OSError where libsndfile itself is missing
        raise BadInput(f'{name} is needed for sound ({error}): pip install "jaxlm[speech]"') from None
