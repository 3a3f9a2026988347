"""Boxes drawn on their image."""

import io
from collections.abc import Sequence
from typing import Any

from jaxlm.data.images.decode import MAX_PIXELS, open_image, to_mode

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#800000")


def draw_boxes(image: Any, boxes: Sequence[Sequence[float]], texts: Sequence[str], colours: Sequence[int]) -> bytes:
    """Return a PNG of an image with boxes and a text above each.

    Args:
        image: bytes of an image file, or an image of Pillow.
        boxes: (left, top, right, bottom) of each, in pixels of the image.
        texts: one for each box.
        colours: number of the colour of each box.

    Raises:
        OSError, SyntaxError, ValueError: the image cannot be read.
    """
    from PIL import ImageDraw, ImageFont

    if isinstance(image, bytes):
        with open_image(image, MAX_PIXELS) as opened:
            picture = to_mode(opened, "RGB").copy()
    else:
        picture = to_mode(image, "RGB").copy()
    draw, side = ImageDraw.Draw(picture), max(picture.size)
    letters = max(9, side // 50)
    font = ImageFont.load_default(letters)
    for (left, top, right, bottom), text, colour in zip(boxes, texts, colours, strict=True):
        chosen = COLOURS[colour % len(COLOURS)]
        draw.rectangle(
            (left, top, max(right - 1, left), max(bottom - 1, top)), outline=chosen, width=max(1, side // 300)
        )
        draw.text((left + 2, max(top - letters - 3, 0)), text, fill=chosen, font=font)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
