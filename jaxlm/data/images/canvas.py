"""Draw simple scenes, and keep several of them as an animated GIF."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

FINE = 2  # drawn so many times as large, and averaged, for smooth edges
XY = tuple[float, float]


class Canvas:
    """A white picture whose coordinates are those of a scene: x to the right, y upwards.

    Args:
        low: (x, y) of the lower left corner.
        high: (x, y) of the upper right corner.
        width: pixels; the height follows.
    """

    def __init__(self, low: XY, high: XY, width: int = 400):
        from PIL import Image, ImageDraw

        self._low, self._high, self._scale = low, high, FINE * width / (high[0] - low[0])
        size = (FINE * width, FINE * round(width * (high[1] - low[1]) / (high[0] - low[0])))
        self._image = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, point: XY) -> XY:
        return (float(point[0]) - self._low[0]) * self._scale, (self._high[1] - float(point[1])) * self._scale

    def line(self, points: Sequence[XY], colour: str = "black", width: float = 2) -> None:
        """Draw straight lines from point to point, `width` pixels wide."""
        self._draw.line([self._at(point) for point in points], fill=colour, width=round(FINE * width), joint="curve")

    def disc(self, centre: XY, radius: float, colour: str = "black") -> None:
        """Draw a disc; its radius is in units of the scene."""
        (x, y), r = self._at(centre), radius * self._scale
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def box(self, low: XY, high: XY, colour: str = "black") -> None:
        """Draw a filled rectangle between two corners."""
        (left, bottom), (right, top) = self._at(low), self._at(high)
        self._draw.rectangle([left, top, right, bottom], fill=colour)

    def text(self, text: str) -> None:
        """Write a line in the upper left corner."""
        from PIL import ImageFont

        self._draw.text((8 * FINE, 6 * FINE), text, fill="black", font=ImageFont.load_default(14 * FINE))

    def pixels(self) -> np.ndarray:
        """Return the picture; uint8 [H, W, 3]."""
        return np.asarray(self._image.reduce(FINE))


def gif_bytes(frames: Sequence[np.ndarray], seconds: float) -> bytes:
    """Return an animated GIF that repeats for ever.

    Args:
        frames: uint8 [H, W, 3] each.
        seconds: that one frame is seen.
    """
    from PIL import Image

    palette: Any = Image.fromarray(frames[0]).quantize(64)
    images = [Image.fromarray(frame).quantize(64, palette=palette) for frame in frames]
    content = io.BytesIO()
    duration = max(round(1000 * seconds), 20)
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return content.getvalue()
