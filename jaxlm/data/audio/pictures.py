"""Spectrograms as PNG pictures."""

import io

import numpy as np

STOPS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # dark to bright
SCALE = 3  # pixels of a frame and of a band


def spectrogram_png(bands_TM: np.ndarray, least: float | None = None) -> bytes:
    """Return a picture of log-mel bands: time to the right, frequency upwards, brighter is louder.

    Args:
        bands_TM: float [T, M].
        least: what is black; None: the smallest value.
    """
    from PIL import Image

    low = float(bands_TM.min()) if least is None else least
    shares = np.clip((bands_TM.T[::-1] - low) / max(float(bands_TM.max()) - low, 1e-6), 0, 1)
    stops, places = np.array(STOPS, np.float64), np.linspace(0, 1, len(STOPS))
    pixels = np.stack([np.interp(shares, places, stops[:, colour]) for colour in range(3)], -1)
    picture = np.rint(pixels).astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()
