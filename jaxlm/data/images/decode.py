"""Decode the bytes of an image file: formats, modes, crops and sizes.

H height, W width, C channels.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from jaxlm.data.epoch import Epoch, cached_per_seed

Crop = Literal["squash", "centre", "random"]
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # others may run programs, or hold a second image
MAX_PIXELS = 1 << 26


def decode(
    content: bytes,
    shape: tuple[int, int] | None,
    channels: int,
    crop: Crop,
    words: np.ndarray | None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode an image file.

    Args:
        content: the bytes of the file.
        shape: (H, W) to resize to; None: as it is.
        channels: 1 (grey) or 3 (colour).
        crop: see `jaxlm.data.images.decoded.Decoded`; only where there is a shape.
        words: uint64 [4], random words for the crop; None: evaluation.
        max_pixels: see `open_image`.

    Returns:
        uint8 [H, W, channels].

    Raises:
        OSError, SyntaxError, ValueError: Pillow cannot read the file.
    """
    with open_image(content, max_pixels) as opened:
        return fit_image(opened, shape, channels, crop, words)


@contextlib.contextmanager
def open_image(content: bytes, max_pixels: int) -> Iterator[Any]:
    """Open an image file, of which Pillow decodes the pixels when they are first needed.

    Args:
        content: the bytes of the file.
        max_pixels: the most that the image may have, so that a small file cannot take all memory.

    Raises:
        OSError, SyntaxError, ValueError: Pillow cannot read the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise ValueError(f"{width} x {height} pixels, and max_pixels is {max_pixels:,}")
            yield opened
    except UnidentifiedImageError:  # its message is the address of the buffer
        raise ValueError(f"of no format that is read: {', '.join(FORMATS)}" if content else "an empty file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def check_image(content: bytes, channels: int, max_pixels: int) -> None:
    """Decode all of an image, at an eighth of its size where that is faster, to see whether it is whole.

    Raises:
        OSError, SyntaxError, ValueError: Pillow cannot read the file.
    """
    with open_image(content, max_pixels) as opened:
        opened.draft("RGB", (8, 8))
        to_mode(opened, "L" if channels == 1 else "RGB").load()


def fit_image(
    image: Any, shape: tuple[int, int] | None, channels: int, crop: Crop, words: np.ndarray | None
) -> np.ndarray:
    """Return the pixels of an image of Pillow, uint8 [H, W, channels], cropped and resized to `shape` (see `decode`).

    Raises:
        ValueError: numbers that no range is known for.
    """
    from PIL import Image

    image = to_mode(image, "L" if channels == 1 else "RGB")
    if shape is not None:
        image = image.resize(shape[::-1], Image.Resampling.BILINEAR, box=window(image.size, crop, words))
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], channels)


def from_pixels(pixels: np.ndarray) -> Any:
    """Return an image of Pillow from uint8 [H, W] or [H, W, C] with 1, 3 or 4 channels."""
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def to_mode(image: Any, mode: str) -> Any:
    """Convert a Pillow image to grey ("L") or colour ("RGB"), with white behind transparent parts.

    Raises:
        ValueError: the image has 32 bits a pixel, whose range is unknown.
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = upper_byte(image)
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of which no range is known: convert it to 8 or 16 bits")
    if "transparency" in image.info or "A" in image.getbands():
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)


def upper_byte(image: Any) -> Any:
    """Convert a grey image of 16 bits to 8 bits; Pillow's own conversion makes all values from 255 on white."""
    from PIL import Image

    values = np.asarray(image)
    if (clear := image.info.get("transparency")) is not None:
        values = np.where(values == clear, 0xFFFF, values)
    return Image.fromarray((values >> 8).astype(np.uint8))


def window(size: tuple[int, int], crop: Crop, words: np.ndarray | None) -> tuple[float, float, float, float]:
    """Return the part of an image that is kept.

    Args:
        size: (width, height) of the image.
        crop: see `Decoded`.
        words: uint64 [4], random words; None: evaluation.

    Returns:
        (left, top, right, bottom).
    """
    width, height = size
    if crop == "squash":
        return 0, 0, width, height
    if words is not None:
        return random_rectangle(width, height, words)
    side = min(width, height) * (7 / 8 if crop == "random" else 1)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_rectangle(width: int, height: int, words: np.ndarray) -> tuple[float, float, float, float]:
    """Return a rectangle of random area, aspect ratio and position, as (left, top, right, bottom).

    Args:
        width: of the image.
        height: of the image.
        words: uint64 [4], random words.
    """
    area, aspect, across, down = (words >> np.uint64(11)).astype(np.float64) / 2**53
    pixels = (0.08 + 0.92 * area) * width * height
    ratio = np.exp(np.log(3 / 4) + aspect * np.log(16 / 9))
    wide, high = min(np.sqrt(pixels * ratio), width), min(np.sqrt(pixels / ratio), height)
    left, top = across * (width - wide), down * (height - high)
    return left, top, left + wide, top + high


@cached_per_seed
def crop_words(epoch: Epoch, count: int) -> np.ndarray:
    """Return random words for the crop of each row in an epoch; uint64 [count, 4]."""
    return epoch.noise_words(4 * count, purpose=4).reshape(count, 4)
