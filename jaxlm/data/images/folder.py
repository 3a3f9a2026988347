"""Images from a folder that has a sub-folder for each class."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxlm.data.images.decode import MAX_PIXELS, Crop
from jaxlm.data.images.decoded import Decoded, Subset, load_images, refuse_broken
from jaxlm.data.images.labelled import Images, LabelledImages, stratified_share
from jaxlm.data.order import RowSource
from jaxlm.data.protocol import json_sha256
from jaxlm.data.readers.text import file_bytes
from jaxlm.errors import BadInput

PARTS = {"train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test", "testing"}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Images):
    """Spec: a folder with a sub-folder of images for each class, as torchvision's `ImageFolder` reads it.

    Attributes:
        path: the folder. Hidden files (.name) are left out.
        train_part: the sub-folder of training images, which has the sub-folders of the classes. Where it does not
            exist, `path` itself has them, and is split.
        eval_part: the sub-folder of evaluation images.
        eval_fraction: the fraction of the images of each class that is for evaluation where `path` is split.
        size: height and width that images are resized to.
        channels: 3 for colour, 1 for grey.
        crop: how images become square, see `Decoded`.
        broken: what to do with files that are not readable images, which all are found before anything is compiled:
            "fail" and name them, or "skip" them and name them in `log_lines`.
        max_pixels: the most pixels that an image may have.
    """

    path: str = "images"
    train_part: str = "train"
    eval_part: str = "val"
    eval_fraction: float = 0.2
    size: int = 224
    channels: int = 3
    crop: Crop = "squash"
    broken: Literal["fail", "skip"] = "fail"
    max_pixels: int = MAX_PIXELS

    def load(self) -> LabelledImages:
        """Return the images of both splits.

        Raises:
            BadInput: no folder, no classes, a class without images, classes that differ between the parts, or an
                image that cannot be read.
        """
        root = Path(self.path).expanduser()
        if not (root / self.train_part).is_dir():
            names, labels, whole, notes = self._part(root)
            kept, rest = stratified_share(labels, self.eval_fraction, names)
            return LabelledImages(Subset(whole, kept), labels[kept], Subset(whole, rest), labels[rest], names, notes)
        names, train_labels, train, notes = self._part(root / self.train_part)
        others, eval_labels, evaluation, more = self._part(root / self.eval_part)
        if names != others:
            odd = ", ".join(sorted(set(names) ^ set(others)))
            raise BadInput(
                f"{root}: only one of {self.train_part} and {self.eval_part} has the classes {odd}: "
                "give both the same sub-folders"
            )
        return LabelledImages(train, train_labels, evaluation, eval_labels, names, notes + more)

    def _part(self, folder: Path) -> tuple[tuple[str, ...], np.ndarray, RowSource, tuple[str, ...]]:
        """Return names of classes, labels, images, and what was left out, of a folder."""
        names, files = find_images(folder)
        images, broken = load_images(self._decoded(files))
        if not broken:
            return names, np.asarray(files.labels, np.int32), images, ()
        if self.broken == "fail":
            refuse_broken(broken, len(files), str(folder), ", or set --data.broken skip")
        note = f"skipped {len(broken)} of {len(files)} images in {folder} that are broken: {_names(files, [*broken])}"
        kept = files.without(broken)
        if empty := [name for label, name in enumerate(names) if label not in set(kept.labels)]:
            raise BadInput(f"{folder} has no image of {', '.join(empty)} that is not broken ({note}): add some")
        images = self._decoded(kept) if isinstance(images, Decoded) else images
        return names, np.asarray(kept.labels, np.int32), images, (note,)

    def _decoded(self, files: "FolderFiles") -> Decoded:
        return Decoded(files, self.size, self.channels, self.crop, self.max_pixels)


@dataclass(frozen=True)
class FolderFiles:
    """Image files and their labels.

    Attributes:
        paths: of the files.
        labels: the number of the class of each file.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes and the label of each of these files."""
        return [(file_bytes(self.paths[row]), self.labels[row]) for row in rows]

    def without(self, rows: Container[int]) -> "FolderFiles":
        """Return all files but those of some rows."""
        kept = [row for row in range(len(self)) if row not in rows]
        return FolderFiles(tuple(self.paths[row] for row in kept), tuple(self.labels[row] for row in kept))

    def name(self, row: int) -> str:
        """Return the path of a file."""
        return str(self.paths[row])

    def identity(self) -> str:
        """Return a SHA-256 over the classes, names, sizes and times of the files."""
        found = [(path.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return json_sha256(found, self.labels)


def find_images(folder: Path) -> tuple[tuple[str, ...], FolderFiles]:
    """Return the names of the classes and the image files of a folder, both in alphabetical order.

    Raises:
        BadInput: no folder, no classes, or a class without images.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}: give one with a sub-folder of images for each class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise BadInput(f"{folder} has no sub-folders: make one for each class, with its images in it")
    if {name.lower() for name in names} <= PARTS:
        raise BadInput(
            f"{folder} has the sub-folders {', '.join(names)}, which are parts and not classes: "
            "name them with --data.train_part and --data.eval_part"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if _is_image(path, folder))
        if not found:
            raise BadInput(
                f"{folder / name} has no images ({', '.join(IMAGE_SUFFIXES)}): add some or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    return tuple(names), FolderFiles(tuple(paths), tuple(labels))


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and not path.is_dir() and not path.is_fifo()


def _names(files: FolderFiles, rows: Sequence[int]) -> str:
    shown = ", ".join(f"{files.paths[row].parent.name}/{files.paths[row].name}" for row in rows[:8])
    return shown + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
