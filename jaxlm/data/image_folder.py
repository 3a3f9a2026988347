"""A folder with a sub-folder of images for each class."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jaxlm.data.image import Images, Labelled, stratified_share
from jaxlm.data.image_source import Crop, Decoded, Subset, in_memory
from jaxlm.data.order import Source
from jaxlm.data.protocol import digest
from jaxlm.errors import BadInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Images):
    """Spec: a folder with a sub-folder of images for each class, as torchvision's `ImageFolder` has it.

    Attributes:
        path: the folder. Where it has a sub-folder `train_part`, that one and `eval_part` hold the classes; else
            a share `eval_share` of the images of each class is for evaluation. What is hidden (.name) is left out.
        train_part: see there.
        eval_part: see there.
        eval_share: see there.
        size: height and width that images are resized to.
        channels: 3 for colour, 1 for grey.
        crop: how they become square, see `Decoded`.
        broken: what to do with a file that is no readable image: "fail", or "skip" it and say so.
    """

    path: str = "images"
    train_part: str = "train"
    eval_part: str = "val"
    eval_share: float = 0.2
    size: int = 224
    channels: int = 3
    crop: Crop = "squash"
    broken: Literal["fail", "skip"] = "fail"

    def load(self) -> Labelled:
        """Return the images of both parts.

        Raises:
            BadInput: no folder, no classes, a class without images, parts with other classes, a broken image.
        """
        root = Path(self.path).expanduser()
        if not (root / self.train_part).is_dir():
            names, labels, whole = self._part(root)
            kept, rest = stratified_share(labels, self.eval_share, names)
            return Labelled(Subset(whole, kept), labels[kept], Subset(whole, rest), labels[rest], names)
        names, train_labels, train = self._part(root / self.train_part)
        others, eval_labels, held = self._part(root / self.eval_part)
        if names != others:
            odd = ", ".join(sorted(set(names) ^ set(others)))
            raise BadInput(
                f"{root}: only one of {self.train_part} and {self.eval_part} has the classes {odd}: "
                "give both the same sub-folders"
            )
        return Labelled(train, train_labels, held, eval_labels, names)

    def _part(self, folder: Path) -> tuple[tuple[str, ...], np.ndarray, Source]:
        names, files = find_images(folder)
        if self.broken == "skip":
            files = without_broken(files, folder)
            left = set(files.labels)
            if empty := [name for label, name in enumerate(names) if label not in left]:
                raise BadInput(f"{folder} has no image of {', '.join(empty)} that is not broken: add some")
        source = in_memory(Decoded(files, self.size, self.channels, self.crop))
        return names, np.asarray(files.labels, np.int32), source


@dataclass(frozen=True)
class FolderFiles:
    """Image files and the number of each one's class."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes of files and their labels."""
        return [(self.paths[row].read_bytes(), self.labels[row]) for row in rows]

    def name(self, row: int) -> str:
        """Return its path."""
        return str(self.paths[row])

    def identity(self) -> str:
        """Return a digest of classes, names, sizes and times of the files."""
        found = [(path.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return digest(found, self.labels)


def find_images(folder: Path) -> tuple[tuple[str, ...], FolderFiles]:
    """Return the names of the classes and the images of a folder, both in alphabetical order.

    Raises:
        BadInput: no folder, no classes, or a class without images.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}: give one with a sub-folder of images for each class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise BadInput(f"{folder} has no sub-folders: make one for each class, with its images in it")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(path for path in (folder / name).rglob("*") if _is_image(path, folder))
        if not found:
            raise BadInput(f"{folder / name} has no images ({', '.join(SUFFIXES)}): add some or remove the folder")
        paths += found
        labels += [label] * len(found)
    return tuple(names), FolderFiles(tuple(paths), tuple(labels))


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir()


def without_broken(files: FolderFiles, folder: Path) -> FolderFiles:
    """Return the files that can be decoded, and name the others on the standard error."""
    source = Decoded(files, 32)
    good, broken = [], []
    for row in range(len(files)):
        try:
            source.take(np.asarray([row]), None)
            good.append(row)
        except BadInput:
            broken.append(row)
    if broken:
        count = f"{len(broken)} of {len(files)}"
        print(f"skipped {count} images in {folder} that are broken: {_names(files, broken)}", file=sys.stderr)
    return FolderFiles(tuple(files.paths[row] for row in good), tuple(files.labels[row] for row in good))


def _names(files: FolderFiles, rows: Sequence[int]) -> str:
    shown = ", ".join(f"{files.paths[row].parent.name}/{files.paths[row].name}" for row in rows[:8])
    return shown + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
