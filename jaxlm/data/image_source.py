"""Images by row number: arrays in memory, or files that are decoded when they are asked for.

B rows, H height, W width, C channels. Images are uint8 [B, H, W, C] and labels int32 [B].
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from jaxlm.data.arrays import Table
from jaxlm.data.order import Epoch, Source, of_epoch
from jaxlm.data.protocol import Batch, digest
from jaxlm.errors import BadInput

Crop = Literal["squash", "centre", "random"]
MEMORY = 1 << 30  # images that take fewer bytes than this, decoded, are kept in memory


class Files(Protocol):
    """Image files by row number."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes of files, and their labels."""
        ...

    def name(self, row: int) -> str:
        """Return what to call it in a message."""
        ...

    def identity(self) -> str:
        """Return a digest of what is in the files, or of their names, sizes and times."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """Image files, decoded on demand to `size` x `size` with `channels` channels.

    Attributes:
        files: what to read.
        size: height and width; None keeps each image's own, which then must all agree.
        channels: 1 (grey) or 3 (colour); palettes are looked up, transparency is laid on white, and of 16 bits the
            upper 8 are kept. A note in the file that it was taken with the camera turned is not heeded, as in
            torchvision.
        crop: how an image becomes square in training: "squash" it, cut out the "centre" of its shorter side, or a
            "random" rectangle of 8 to 100 % of the area and 3/4 to 4/3 of the aspect (Szegedy et al. 2015,
            arXiv:1409.4842, section 6). In evaluation "random" is the central 7/8 of the shorter side.
    """

    files: Files
    size: int | None
    channels: int = 3
    crop: Crop = "squash"

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows, decoded.

        Raises:
            BadInput: an image that cannot be read or decoded, or sizes that differ where `size` is None.
        """
        drawn = crop_words(epoch, len(self)) if epoch and self.crop == "random" else None
        try:
            found = self.files.read([int(row) for row in rows])
        except OSError as error:
            raise BadInput(f"an image cannot be read ({error}): mend or remove it") from None
        images = [
            self.pixels(int(row), file, None if drawn is None else drawn[row])
            for row, (file, _) in zip(rows, found, strict=True)
        ]
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                raise BadInput(
                    f"{self.files.name(int(row))} is {image.shape[1]} x {image.shape[0]} and "
                    f"{self.files.name(int(rows[0]))} is {images[0].shape[1]} x {images[0].shape[0]}: "
                    "set --data.size to resize all images to one size"
                )
        return {"image": np.stack(images), "label": np.asarray([label for _, label in found], np.int32)}

    def pixels(self, row: int, content: bytes, words: np.ndarray | None) -> np.ndarray:
        """Return one image from the bytes of its file; `words`, uint64 [4], draw its random rectangle.

        Raises:
            BadInput: it cannot be decoded.
        """
        shape = None if self.size is None else (self.size, self.size)
        try:
            return decode(content, shape, self.channels, self.crop, words)
        except (OSError, SyntaxError, ValueError) as error:
            name = self.files.name(row)
            raise BadInput(f"{name} is no readable image ({error}): mend or remove it") from None

    def fingerprint(self) -> str:
        """Return a SHA-256 over the images' identity and how they are decoded."""
        return digest("decoded images", self.files.identity(), self.size, self.channels, self.crop)


def decode(
    content: bytes, shape: tuple[int, int] | None, channels: int, crop: Crop, words: np.ndarray | None
) -> np.ndarray:
    """Return the pixels of an image file, uint8 [H, W, channels]; `shape` is (H, W), None keeps the file's own.

    Raises:
        OSError, SyntaxError, ValueError: Pillow cannot read it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = to_mode(opened, "L" if channels == 1 else "RGB")
            if shape is not None:
                box = window(image.size, crop, words)
                image = image.resize(shape[::-1], Image.Resampling.BILINEAR, box=box)
            pixels = np.asarray(image)
    except UnidentifiedImageError:  # its message is the address of the buffer
        raise ValueError("of no format that Pillow knows" if content else "an empty file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    return pixels.reshape(*pixels.shape[:2], channels)


def to_mode(image: Any, mode: str) -> Any:
    """Return an image in grey or in colour; what is transparent shows white behind it.

    Raises:
        ValueError: numbers that no range is known for.
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
    """Return a grey image of 16 bits in 8; Pillow's own conversion makes all from 255 on white."""
    from PIL import Image

    values = np.asarray(image)
    if (clear := image.info.get("transparency")) is not None:
        values = np.where(values == clear, 0xFFFF, values)
    return Image.fromarray((values >> 8).astype(np.uint8))


def window(size: tuple[int, int], crop: Crop, words: np.ndarray | None) -> tuple[float, float, float, float]:
    """Return the rectangle (left, top, right, bottom) of an image (width, height) that is kept."""
    width, height = size
    if crop == "squash":
        return 0, 0, width, height
    if words is not None:
        return random_rectangle(width, height, words)
    side = min(width, height) * (7 / 8 if crop == "random" else 1)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_rectangle(width: int, height: int, words: np.ndarray) -> tuple[float, float, float, float]:
    """Return a rectangle of a random share of the area and a random aspect, at a random place; words uint64 [4]."""
    area, aspect, across, down = (words >> np.uint64(11)).astype(np.float64) / 2**53
    pixels = (0.08 + 0.92 * area) * width * height
    ratio = np.exp(np.log(3 / 4) + aspect * np.log(16 / 9))
    wide, high = min(np.sqrt(pixels * ratio), width), min(np.sqrt(pixels / ratio), height)
    left, top = across * (width - wide), down * (height - high)
    return left, top, left + wide, top + high


@of_epoch
def crop_words(epoch: Epoch, count: int) -> np.ndarray:
    """Return four random words for each row of an epoch; uint64 [count, 4]."""
    return epoch.noise_words(4 * count, purpose=4).reshape(count, 4)


@of_epoch
def draw_words(epoch: Epoch, count: int) -> np.ndarray:
    """Return the words of a PRNG key for each row of an epoch; uint32 [count, 2]."""
    return epoch.noise_words(count, purpose=3).view(np.uint32).reshape(count, 2)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A source with "draws" in its training batches, uint32 [B, 2]: the words of a PRNG key for each example.

    They are a function of the seed of the noise and of the example's place in the endless sequence of epochs, so that
    what is drawn with them depends on no worker, micro-batch or device.
    """

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these rows."""
        batch = self.source.take(rows, epoch)
        return batch if epoch is None else batch | {"draws": draw_words(epoch, len(self))[rows]}

    def fingerprint(self) -> str:
        """Return that of the source."""
        return self.source.fingerprint()


@dataclass(frozen=True, eq=False)
class Subset:
    """Some rows of a source."""

    source: Source
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return these of the rows."""
        return self.source.take(self.rows[rows], epoch)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and the choice of rows."""
        return digest("subset", self.source.fingerprint(), self.rows.tolist())


def in_memory(source: Decoded) -> Source:
    """Return the source, decoded at once where it is small enough and every epoch sees the same pixels."""
    pixels = (source.size or 0) ** 2 * source.channels
    if source.crop == "random" or not 0 < len(source) * pixels <= MEMORY:
        return source
    parts = np.array_split(np.arange(len(source)), -(-len(source) // 256))
    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(partial(source.take, epoch=None), parts))
    return Table({name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]})


def labels_of(source: Source) -> np.ndarray | None:
    """Return the labels of all rows where they are in memory."""
    return source.arrays["label"] if isinstance(source, Table) else None
