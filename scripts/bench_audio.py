"""Log-mel spectrograms of a minute of sound: librosa and jaxlm take turns in one process.

    python scripts/bench_audio.py [--repeats 15] [--steps 5] [--seconds 60] [--plain]

Windows of 25 ms every 10 ms at 16 kHz, 80 bands, from samples in memory to an array in memory. Before anything is timed
the peers must give the same values. To hold: librosa's speed. Only a quiet machine gives a result.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from bench import BUSY, Others, Peer, Times, alternate, machine, prepare_environment, report

RATE, WINDOW, HOP, BANDS = 16000, 400, 160, 80


def main() -> None:
    """Parse, set the environment, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=5, help="spectrograms a turn")
    parser.add_argument("--seconds", type=int, default=60, help="of sound")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    if not options.plain:
        prepare_environment()
    print(machine(len(os.sched_getaffinity(0))), flush=True)
    others = Others()
    report("log-mel", bench(options.seconds, options.repeats, options.steps), "seconds")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def bench(seconds: int, repeats: int, steps: int) -> tuple[Times, int]:
    """All peers on the same sound."""
    import numpy as np

    time = np.arange(seconds * RATE) / RATE
    sound = 0.4 * np.sin(2 * np.pi * (200 + 30 * np.sin(time)) * time) + 0.02 * np.random.default_rng(0).normal(
        size=len(time)
    )
    made = spectrograms(sound.astype(np.float32))
    values = {name: make() for name, make in made.items()}
    first = next(iter(values.values()))
    for name, found in values.items():
        difference = np.abs(np.maximum(found, first.max() - 7) - np.maximum(first, first.max() - 7)).max()
        print(f"{name}: {found.shape}, log10 differs by at most {difference:.1e}", flush=True)
        if difference > 1e-4:
            raise SystemExit(f"error: {name} differs by more than 1e-4, so the two do not compute the same")
    return alternate({name: repeated(make) for name, make in made.items()}, repeats, steps), seconds


def spectrograms(sound: Any) -> dict[str, Callable[[], Any]]:
    """By peer, what makes log10 of the bands of a sound, [frames, bands], librosa first."""
    import jax
    import librosa
    import numpy as np

    from jaxlm.data.audio.spectrogram import LogMel

    ours = jax.jit(LogMel(RATE, WINDOW, HOP, BANDS))

    def theirs() -> Any:
        mel = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS)
        return np.log10(np.maximum(mel, 1e-10)).T

    return {"librosa": theirs, "jaxlm": lambda: np.asarray(ours(sound[None]))[0] / np.float32(np.log(10))}


def repeated(make: Callable[[], Any]) -> Peer:
    """Return a peer that makes so many spectrograms."""

    def run(count: int) -> None:
        for _ in range(count):
            make()

    return run


if __name__ == "__main__":
    main()
