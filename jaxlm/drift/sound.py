"""What is watched of a recording: how long, how loud, how clipped and how bright it is."""

from collections.abc import Sequence

import numpy as np

from jaxlm.data.audio.recordings import FULL
from jaxlm.predict.predictor import Example
from jaxlm.predict.sound.transcripts import OVERLAP

FRAME = 512  # samples of a spectrum


def sound_features(pcm_S: np.ndarray, rate: int) -> dict[str, float]:
    """Return the features of a recording.

    Law: they do not depend on padding, as the samples have none.

    Args:
        pcm_S: int16, without padding.
        rate: samples a second.

    Returns:
        "seconds"; "loudness", the root mean square in dB of full scale, -90.3 for silence; "clipped", the share of
        samples at full scale; "centroid", the mean frequency of the power in Hz, without that at 0 Hz, 0 for silence.
    """
    wave_S = pcm_S.astype(np.float64) / FULL
    power = float(np.mean(wave_S**2)) if len(wave_S) else 0.0
    clipped = (pcm_S >= FULL - 1) | (pcm_S <= -FULL)
    return {
        "seconds": len(wave_S) / rate,
        "loudness": 10 * float(np.log10(max(power, FULL**-2))),
        "clipped": float(clipped.mean()) if len(wave_S) else 0.0,
        "centroid": _centroid(wave_S, rate),
    }


def _centroid(wave_S: np.ndarray, rate: int) -> float:
    whole = len(wave_S) // FRAME * FRAME
    frames = wave_S[:whole].reshape(-1, FRAME) if whole else np.pad(wave_S, (0, FRAME - len(wave_S)))[None]
    power_F = (np.abs(np.fft.rfft(frames)) ** 2).sum(0)[1:]
    total = power_F.sum()
    return float(np.fft.rfftfreq(FRAME, 1 / rate)[1:] @ power_F / total) if total > 0 else 0.0


def whole_recording(rows: Sequence[Example]) -> np.ndarray:
    """Return the samples of a recording, int16 [S], from its row or from its windows, which overlap."""
    parts = [row["audio"][: int(row["samples"])] for row in rows]
    window = len(rows[0]["audio"])
    step = window - window // OVERLAP
    return np.concatenate([*(part[:step] for part in parts[:-1]), parts[-1]])
