"""Image files by row number, decoded once into memory, or whenever a batch needs them.

B rows, H height, W width, C channels. Images are uint8 [B, H, W, C] and labels int32 [B].
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.epoch import Epoch
from jaxlm.data.images.decode import MAX_PIXELS, Crop, check_image, crop_words, decode
from jaxlm.data.order import RowSource
from jaxlm.data.protocol import Batch, cache_folder, json_sha256
from jaxlm.errors import BadInput, join_reasons

THREADS = 2  # that decode a batch
READ_AHEAD = 1024  # files whose pixels wait while others are decoded
MEMORY = 1 << 30  # images that take fewer bytes than this, decoded, are kept in memory
UNREADABLE = (OSError, SyntaxError, ValueError)  # of Pillow


class Files(Protocol):
    """Image files by row number."""

    def __len__(self) -> int:
        """Return the number of files."""
        ...

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes and the label of each of these files."""
        ...

    def name(self, row: int) -> str:
        """Return the name of a file for a message."""
        ...

    def identity(self) -> str:
        """Return a SHA-256 over the content of the files, or over their names, sizes and times."""
        ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """A source of image files that are decoded when a batch needs them.

    Attributes:
        files: what to read.
        size: height and width that images are resized to; None: as they are, in which case all must agree.
        channels: 1 (grey) or 3 (colour). Palettes are looked up, transparent images are put on white, and of 16 bits
            the upper 8 are kept. The orientation in EXIF data is ignored, as in torchvision.
        crop: how an image becomes square in training: "squash" it, crop the "centre" square, or crop a "random"
            rectangle of 8 to 100 % of the area with an aspect ratio of 3/4 to 4/3 (Szegedy et al. 2015,
            arXiv:1409.4842, section 6). In evaluation "random" is the central 7/8 of the shorter side.
        max_pixels: the most that an image file may decode to; memory is at most some 16 bytes for each.
    """

    files: Files
    size: int | None
    channels: int = 3
    crop: Crop = "squash"
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the images and labels of these rows, decoded.

        Raises:
            BadInput: an image that cannot be read or decoded, or sizes that differ where `size` is None.
        """
        drawn = crop_words(epoch, len(self)) if epoch and self.crop == "random" else None
        parts = np.array_split(rows, min(THREADS, len(rows)))
        with ThreadPoolExecutor(THREADS) as pool:  # Pillow and files release the interpreter lock
            images, labels = zip(*chain.from_iterable(pool.map(partial(self._read, drawn), parts)), strict=True)
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                raise BadInput(
                    f"{self.files.name(int(row))} is {image.shape[1]} x {image.shape[0]} and "
                    f"{self.files.name(int(rows[0]))} is {images[0].shape[1]} x {images[0].shape[0]}: "
                    "set --data.size to resize all images to one size"
                )
        return {"image": np.stack(images), "label": np.asarray(labels, np.int32)}

    def _read(self, drawn: np.ndarray | None, rows: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Return the pixels and labels of these rows; `drawn`, uint64 [N, 4], has the words that crop each row."""
        numbers = [int(row) for row in rows]
        try:
            found = self.files.read(numbers)
        except OSError as error:
            raise BadInput(f"an image cannot be read ({error}): repair or remove it") from None
        words = [None if drawn is None else drawn[row] for row in numbers]
        return [
            (self.pixels(row, content, each), label)
            for row, (content, label), each in zip(numbers, found, words, strict=True)
        ]

    def pixels(self, row: int, content: bytes, words: np.ndarray | None) -> np.ndarray:
        """Return one image from the bytes of its file.

        Args:
            row: its number, for a message.
            content: the file.
            words: uint64 [4], random words for its crop; None: evaluation.

        Raises:
            BadInput: the image cannot be decoded.
        """
        shape = None if self.size is None else (self.size, self.size)
        try:
            return decode(content, shape, self.channels, self.crop, words, self.max_pixels)
        except UNREADABLE as error:
            raise self.unreadable(row, error) from None

    def unreadable(self, row: int, error: Exception) -> BadInput:
        """Return the error for an image that cannot be read."""
        reason = getattr(error, "strerror", None) or error
        return BadInput(f"{self.files.name(row)} is not a readable image ({reason}): repair or remove it")

    def fingerprint(self) -> str:
        """Return a SHA-256 over the identity of the files and how they are decoded."""
        return json_sha256("decoded images", self.files.identity(), self.size, self.channels, self.crop)


@dataclass(frozen=True, eq=False)
class Subset:
    """A source of some rows of another one.

    Attributes:
        source: the other one.
        rows: int64 [N], the numbers of the rows.
    """

    source: RowSource
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the rows with these numbers in the subset."""
        return self.source.take(self.rows[rows], epoch)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the source and the choice of rows."""
        return json_sha256("subset", self.source.fingerprint(), self.rows.tolist())


def fits_memory(source: Decoded) -> bool:
    """Return whether all images fit into memory, decoded, and have the same pixels in every epoch."""
    pixels = (source.size or 0) ** 2 * source.channels
    return source.crop != "random" and 0 < len(source) * pixels <= MEMORY


def load_images(source: Decoded) -> tuple[RowSource, dict[int, str]]:
    """Read all images once, on all cores, to find those that cannot be read.

    Returns:
        The images that can be read, decoded in memory where they fit, else the source; and for each row that cannot be
        read why it cannot.
    """
    if not fits_memory(source):
        return source, _remembered(source)
    found = list(_on_all_cores(source, lambda row, content, label: (source.pixels(row, content, None), label)))
    broken = {row: str(error) for row, error in enumerate(found) if isinstance(error, BadInput)}
    if len(broken) == len(found):
        return source, broken
    images, labels = zip(*(one for one in found if not isinstance(one, BadInput)), strict=True)
    return ArraySource({"image": np.stack(images), "label": np.asarray(labels, np.int32)}), broken


def check_images(source: Decoded) -> dict[int, str]:
    """Return for each row that cannot be read why it cannot; every image is decoded once, on all cores."""

    def check(row: int, content: bytes, label: int) -> None:
        try:
            check_image(content, source.channels, source.max_pixels)
        except UNREADABLE as error:
            raise source.unreadable(row, error) from None

    found = enumerate(_on_all_cores(source, check))
    return {row: str(error) for row, error in found if isinstance(error, BadInput)}


def _on_all_cores(source: Decoded, function: Callable[[int, bytes, int], Any]) -> Iterator[Any]:
    """Yield what a function makes of each image file and its label, or the BadInput that it raised."""

    def one(row: int) -> Any:
        try:
            ((content, label),) = source.files.read([row])
            return function(row, content, label)
        except BadInput as error:
            return error
        except OSError as error:
            return source.unreadable(row, error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(source), READ_AHEAD):
            yield from pool.map(one, range(start, min(start + READ_AHEAD, len(source))))


def _remembered(source: Decoded) -> dict[int, str]:
    """Return `check_images`, from the cache folder where the same files were checked before."""
    try:
        key = json_sha256("checked images", source.files.identity(), source.channels, source.max_pixels)
        path = cache_folder("images") / f"{key}.json"
        return {int(row): str(reason) for row, reason in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError):  # a file is gone, or none was checked yet
        found = check_images(source)
    with contextlib.suppress(OSError, UnboundLocalError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        part.write_text(json.dumps(found))
        part.replace(path)
    return found


def refuse_broken(broken: Mapping[int, str], count: int, where: str, advice: str = "") -> None:
    """Raise BadInput that says of all broken images, or of the first hundred, why they cannot be read.

    Args:
        broken: row -> why, see `load_images`.
        count: of all images.
        where: the folder or the data set.
        advice: what else may be done.
    """
    if len(broken) == 1:
        raise BadInput(f"{next(iter(broken.values()))}{advice}")
    if broken:
        reasons = [reason.removesuffix(": repair or remove it") for reason in broken.values()]
        raise BadInput(
            f"{len(broken)} of {count} images in {where} cannot be read: repair or remove them{advice}: "
            f"{join_reasons(reasons)}"
        )


def labels_of(source: RowSource) -> np.ndarray | None:
    """Return the labels of all rows, int32 [N], or None where they are not in memory."""
    return source.arrays["label"] if isinstance(source, ArraySource) else None
