"""Images and their boxes as rows of one size.

B batch, H height, W width, N boxes of a row. A box is (left, top, right, bottom) in pixels, y downwards.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.epoch import Epoch
from jaxlm.data.images.decode import MAX_PIXELS, open_image, to_mode
from jaxlm.data.images.decoded import MEMORY, READ_AHEAD, UNREADABLE, Files, refuse_broken
from jaxlm.data.protocol import Batch, json_sha256
from jaxlm.errors import BadInput


class OnCanvas(NamedTuple):
    """An image in the upper left corner of a canvas.

    Attributes:
        pixels: uint8 [H, W, 3], black beside the image.
        scale: what a length in the file is multiplied by.
        extent: (width, height) of the image on the canvas.
    """

    pixels: np.ndarray
    scale: float
    extent: tuple[float, float]


def place_image(image: Any, size: tuple[int, int]) -> OnCanvas:
    """Resize an image of Pillow so that it fits a canvas of `size`, (H, W), with its aspect ratio kept (letterbox)."""
    from PIL import Image

    image = to_mode(image, "RGB")
    scale = min(size[0] / image.height, size[1] / image.width)
    high, wide = (max(1, round(side * scale)) for side in (image.height, image.width))
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[:high, :wide] = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))
    return OnCanvas(pixels, scale, (float(wide), float(high)))


@dataclass(frozen=True, eq=False)
class Annotated:
    """The images of a split with their boxes.

    Attributes:
        files: the images.
        boxes: float64 [n, 4] for each image, in pixels of the file.
        classes: int32 [n] for each image.
        crowd: bool [n] for each image: a box around many, which is not trained on, and not counted when it is missed.
        names: of the classes.
    """

    files: Files
    boxes: tuple[np.ndarray, ...]
    classes: tuple[np.ndarray, ...]
    crowd: tuple[np.ndarray, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BoxRows:
    """A source of images on a canvas with their boxes, filled up to `most` with boxes of the class -1.

    Batches have "image" uint8 [B, H, W, 3], "boxes" float32 [B, N, 4] in pixels of the canvas, "classes" int32 [B, N],
    "crowd" bool [B, N], "extent" float32 [B, 2], the width and height of the image on its canvas, and "number" int32
    [B], that of the image in its split.

    Attributes:
        part: what to read.
        size: (H, W).
        most: N.
        sizes: (width, height) that each file is annotated with; none: as the files are.
        max_pixels: the most that an image file may decode to.
    """

    part: Annotated
    size: tuple[int, int]
    most: int
    sizes: Sequence[tuple[int, int]] = ()
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.part.files)

    def take(self, rows: np.ndarray, epoch: Epoch | None) -> Batch:
        """Return the images with these numbers and their boxes."""
        del epoch
        placed = [self._whole(int(row)) for row in rows]
        batch = {
            "image": np.stack([one.pixels for one in placed]),
            "boxes": np.zeros((len(rows), self.most, 4), np.float32),
            "classes": np.full((len(rows), self.most), -1, np.int32),
            "crowd": np.zeros((len(rows), self.most), bool),
            "extent": np.array([one.extent for one in placed], np.float32),
            "number": rows.astype(np.int32),
        }
        for place, (row, one) in enumerate(zip(rows, placed, strict=True)):
            count = len(self.part.boxes[row])
            batch["boxes"][place, :count] = self.part.boxes[row] * one.scale
            batch["classes"][place, :count] = self.part.classes[row]
            batch["crowd"][place, :count] = self.part.crowd[row]
        return batch

    def _whole(self, row: int) -> OnCanvas:
        found = self._kept[row] if self._kept else self.read(row)
        if isinstance(found, BadInput):
            raise found
        return found

    def read(self, row: int) -> OnCanvas | BadInput:
        """Return one image on its canvas, or why it cannot be read."""
        try:
            ((content, _),) = self.part.files.read([row])
            with open_image(content, self.max_pixels) as opened:
                if self.sizes and opened.size != tuple(self.sizes[row]):
                    return self._resized(row, opened.size)
                return place_image(opened, self.size)
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error
            return BadInput(f"{self.part.files.name(row)} is not a readable image ({reason}): repair or remove it")

    def _resized(self, row: int, size: tuple[int, int]) -> BadInput:
        """Return the error of an image whose boxes are in pixels of another one."""
        found, said = (f"{width} x {height}" for width, height in (size, self.sizes[row]))
        return BadInput(
            f"{self.part.files.name(row)} is {found} and its annotation is for {said} pixels: give the image that was "
            "annotated, or scale its boxes"
        )

    @cached_property
    def _kept(self) -> list[OnCanvas | BadInput]:
        """All images where they fit into memory, decoded on all cores, else none."""
        if len(self) * self.size[0] * self.size[1] * 3 > MEMORY:
            return []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            starts = range(0, len(self), READ_AHEAD)
            return [one for at in starts for one in pool.map(self.read, range(at, min(at + READ_AHEAD, len(self))))]

    def check(self) -> None:
        """Raise BadInput that names every image that cannot be read, where all are in memory."""
        broken = {row: str(one) for row, one in enumerate(self._kept) if isinstance(one, BadInput)}
        refuse_broken(broken, len(self), "the split")

    def fingerprint(self) -> str:
        """Return a SHA-256 over the files, the boxes and the canvas."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        part = self.part
        lists = [[found.tolist() for found in kind] for kind in (part.boxes, part.classes, part.crowd)]
        return json_sha256("boxes", part.files.identity(), *lists, list(self.size), self.most)


class BoxSplit(NamedTuple):
    """A split as it is read.

    Attributes:
        annotated: images and boxes.
        sizes: (width, height) of each file.
    """

    annotated: Annotated
    sizes: Sequence[tuple[int, int]]


def check_boxes(read: BoxSplit, most: int, skip: bool) -> tuple[Annotated, dict[str, int]]:
    """Cut boxes at the edges of their images, and check that something is left of them.

    Args:
        read: images, boxes and sizes.
        most: boxes that a row has room for.
        skip: leave boxes out of which nothing is left.

    Returns:
        The same with cut boxes, and how many were cut and left out.

    Raises:
        BadInput: a box that has no area in its image, a class that is not there, or more boxes than there is room for.
    """
    part, found = read.annotated, []
    counts = {"boxes that reached beyond their image and were cut": 0, "boxes of no area, left out": 0}
    for row, size in enumerate(read.sizes):
        name, boxes, classes = part.files.name(row), part.boxes[row], part.classes[row]
        cut = np.clip(boxes, 0, np.array([*size, *size], np.float64))
        whole = (cut[:, 2:] > cut[:, :2]).all(1) & np.isfinite(boxes).all(1)
        if not whole.all() and not skip:
            number = int(np.flatnonzero(~whole)[0])
            shown = [round(float(x), 2) for x in boxes[number]]
            raise BadInput(
                f"{name}: box {number} is {shown} (left, top, right, bottom), of no area in an image of {size[0]} x "
                f"{size[1]}: correct it, take it out, or set --data.broken skip"
            )
        wrong = classes[(classes < 0) | (classes >= len(part.names))]
        if len(wrong):
            raise BadInput(f"{name}: class {wrong[0]} of a box is not among the {len(part.names)} classes: correct it")
        if whole.sum() > most:
            raise BadInput(f"{name} has {whole.sum()} boxes and data.most is {most}: set --data.most {whole.sum()}")
        beyond, none = counts
        counts[beyond] += int((np.abs(cut - boxes) > 1).any(1)[whole].sum())
        counts[none] += int((~whole).sum())
        found.append((cut[whole], classes[whole], part.crowd[row][whole]))
    kept, classes_kept, crowd = zip(*found, strict=True) if found else ((), (), ())
    return Annotated(part.files, kept, classes_kept, crowd, part.names), counts
