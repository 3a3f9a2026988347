"""Pictures as PNG: one by itself, and many in the rows of a sheet."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.images.decode import from_pixels
from jaxlm.errors import BadInput

SIDE = 96  # pictures on a sheet are enlarged to about so many pixels
GAP = 4
TITLE = 20  # pixels of a line of text


def picture_png(pixels: np.ndarray) -> bytes:
    """Return a PNG of uint8 [H, W, C]."""
    content = io.BytesIO()
    from_pixels(pixels).save(content, "PNG")
    return content.getvalue()


def write_png(path: Path, content: bytes) -> None:
    """Write a PNG, whole or not at all; its folder is made.

    Raises:
        BadInput: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): name another place with --output") from None


def sheet_png(rows: Mapping[str, np.ndarray], columns: int = 8) -> bytes:
    """Return a PNG of pictures below their titles.

    Args:
        rows: title -> uint8 [N, H, W, C] pictures of one shape, in lines of at most `columns`; "" is no title.
        columns: pictures in a line.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = next(iter(rows.values())).shape[1:3]
    scale = max(1, round(SIDE / max(height, width)))
    starts = [(title, at) for title, found in rows.items() for at in range(0, len(found), columns)]
    lines = [("" if at else title, rows[title][at : at + columns]) for title, at in starts]
    across = min(columns, max(len(found) for _, found in lines))
    font = ImageFont.load_default(13)
    wide = max(across * (width * scale + GAP) + GAP, *(round(font.getlength(title)) + 2 * GAP for title in rows), 1)
    high = sum(height * scale + GAP + (TITLE if title else 0) for title, _ in lines) + GAP
    sheet = Image.new("RGB", (wide, high), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for title, found in lines:
        if title:
            draw.text((GAP, top), title, fill="black", font=font)
            top += TITLE
        for number, pixels in enumerate(found):
            sheet.paste(_enlarged(pixels, scale), (GAP + number * (width * scale + GAP), top))
        top += height * scale + GAP
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _enlarged(pixels: np.ndarray, scale: int) -> Any:
    return from_pixels(pixels.repeat(scale, 0).repeat(scale, 1)).convert("RGB")
