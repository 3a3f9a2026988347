r"""Give the recordings of every speaker the same average spectrum, as if all had used one microphone in one room.

    python scripts/equalise_recordings.py FOLDER OUT --speaker '\d_(\w+)_\d+' [--rate 8000]

OUT gets a WAV file for each file of FOLDER whose name, without its ending, matches the regular expression; its first
group is the speaker. A speaker's average is the mean logarithm of the power at each frequency, over the loud
frames of all of their recordings, those within 30 dB of the loudest of the recording. Every recording is filtered from
the average of its speaker to the mean of all speakers, and scaled to one peak. What is said is not read, so a speaker
who is held out may be equalised too: it is mean normalisation by speaker (Atal 1974), applied to the samples.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from jaxlm.data.audio.files import read_audio, write_wav
from jaxlm.errors import BadInput

WINDOW, HOP = 256, 80  # samples of a frame, and from one to the next
LOUD = 1e-3  # of the power of a recording's loudest frame
PEAK = 0.25
SMOOTH = 7  # neighbouring frequencies whose gains are averaged


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--speaker", required=True, help="regular expression with a group")
    parser.add_argument("--rate", type=int, default=8000, help="samples a second of what is read and written")
    words = parser.parse_args()
    try:
        found = read_by_speaker(words.folder, words.speaker, words.rate)
        words.out.mkdir(parents=True, exist_ok=True)
        for path, samples in equalise(found).items():
            write_wav(words.out / f"{path.stem}.wav", samples, words.rate)
    except (BadInput, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{words.out}: {sum(map(len, found.values())):,} recordings of {', '.join(sorted(found))}")


def read_by_speaker(folder: Path, pattern: str, rate: int) -> dict[str, dict[Path, np.ndarray]]:
    """Return the samples of every matching file, by its speaker.

    Raises:
        BadInput: the pattern is not a regular expression with a group, no file matches it, or one cannot be read.
    """
    try:
        speaker = re.compile(pattern)
    except re.error as error:
        raise BadInput(f"--speaker {pattern!r} is not a regular expression: {error}") from None
    if not speaker.groups:
        raise BadInput(f"--speaker {pattern!r} has no group: put brackets around what names the speaker")
    found: dict[str, dict[Path, np.ndarray]] = {}
    for path in sorted(folder.iterdir()):
        if match := speaker.fullmatch(path.stem):
            found.setdefault(match[1], {})[path] = read_audio(path, rate)
    if not found:
        raise BadInput(f"{folder} has no file whose name matches {pattern!r}")
    return found


def equalise(speakers: dict[str, dict[Path, np.ndarray]]) -> dict[Path, np.ndarray]:
    """Return all recordings after the filters of their speakers."""
    average = {name: average_spectrum(list(files.values())) for name, files in speakers.items()}
    aim_F = np.mean(list(average.values()), 0)
    return {
        path: scaled(filtered(samples, smooth(aim_F - average[name])))
        for name, files in speakers.items()
        for path, samples in files.items()
    }


def average_spectrum(recordings: list[np.ndarray]) -> np.ndarray:
    """Return the mean logarithm of the power at each frequency over the loud frames of recordings, [F]."""
    window_W, loud = np.hanning(WINDOW), []
    for samples in recordings:
        padded = np.pad(samples.astype(np.float64), (0, WINDOW))
        frames_TW = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        power_TF = np.abs(np.fft.rfft(frames_TW * window_W)) ** 2
        energy_T = power_TF.sum(1)
        loud.append(power_TF[energy_T >= LOUD * energy_T.max()])
    return np.log(np.concatenate(loud) + 1e-9).mean(0)


def smooth(gain_F: np.ndarray) -> np.ndarray:
    """Return the running mean of a logarithmic gain over frequencies."""
    return np.convolve(np.pad(gain_F, SMOOTH // 2, mode="edge"), np.full(SMOOTH, 1 / SMOOTH), "valid")


def filtered(samples: np.ndarray, gain_F: np.ndarray) -> np.ndarray:
    """Return samples after a filter without delay, given as the logarithm of its gain of power at each frequency."""
    spectrum = np.fft.rfft(samples.astype(np.float64))
    at = np.linspace(0, len(gain_F) - 1, len(spectrum))
    gain = np.exp(np.interp(at, np.arange(len(gain_F)), gain_F) / 2)
    return np.fft.irfft(spectrum * gain, len(samples))


def scaled(samples: np.ndarray) -> np.ndarray:
    """Return samples with one peak, float32; silence stays silence."""
    return (samples * (PEAK / max(np.abs(samples).max(), 1e-9))).astype(np.float32)


if __name__ == "__main__":
    main()
