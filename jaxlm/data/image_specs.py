"""Where images come from: TFDS by name, arrays, scikit-learn's digits. Folders are in `image_folder`."""

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.arrays import Table
from jaxlm.data.image import Images, Labelled
from jaxlm.data.image_source import Crop, Decoded, in_memory, labels_of
from jaxlm.data.order import Source
from jaxlm.data.protocol import digest
from jaxlm.data.tfds_text import find_dataset, open_dataset
from jaxlm.errors import BadInput

NOT_NPZ = (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True)
class ArrayImages(Images):
    """Spec: images from .npz files with "images" uint8 [N, H, W, C] or [N, H, W] and "labels" integers [N].

    Attributes:
        folder: where the files are.
        train_file: the training images.
        eval_file: the evaluation images.
        classes: names of the classes; empty: the numbers from 0 to the largest label of the training images.
    """

    folder: str = "."
    train_file: str = "train.npz"
    eval_file: str = "test.npz"
    classes: tuple[str, ...] = ()

    def load(self) -> Labelled:
        """Return the images of both files.

        Raises:
            BadInput: a file that is missing or holds something else.
        """
        train, held = (read_npz(Path(self.folder) / name) for name in (self.train_file, self.eval_file))
        largest = int(train.arrays["label"].max(initial=0))
        if not self.classes and largest >= len(train):
            raise BadInput(
                f"{Path(self.folder) / self.train_file}: a label is {largest}, and {len(train)} images cannot show "
                f"{largest + 1} classes: number the classes from 0"
            )
        names = self.classes or tuple(map(str, range(largest + 1)))
        return Labelled(train, train.arrays["label"], held, held.arrays["label"], names)


def read_npz(path: Path) -> Table:
    """Return "image" uint8 [N, H, W, C] and "label" int32 [N] of a file of NumPy arrays.

    Raises:
        BadInput: it is missing or holds something else.
    """
    path = path.expanduser()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            images, labels = found["images"], found["labels"]
    except FileNotFoundError:
        raise BadInput(
            f"there is no file {path}: make it with np.savez({path.name!r}, images=..., labels=...)"
        ) from None
    except NOT_NPZ as error:
        reason = "" if isinstance(error, TypeError | ValueError) else f" ({error})"  # those speak of pickle
        raise BadInput(
            f"{path} is no whole .npz file of `images` and `labels`{reason}: make it anew with np.savez"
        ) from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise BadInput(
            f"{path}: images are {images.dtype} {list(images.shape)}, not uint8 [N, H, W, C] or [N, H, W]: "
            "resize those of mixed sizes to one size, and convert them"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise BadInput(
            f"{path}: labels are {labels.dtype} {list(labels.shape)}, not one integer for each of the {len(images)} "
            "images: number the classes from 0"
        )
    if not images.size:
        raise BadInput(f"{path}: images are {list(images.shape)}, which is none: add some")
    for label in (int(labels.min()), int(labels.max())):
        if not -(2**31) <= label < 2**31:
            raise BadInput(f"{path}: a label is {label}: number the classes from 0")
    return Table({"image": images.reshape(*images.shape[:3], -1), "label": labels.astype(np.int32)})


@dataclass(frozen=True, kw_only=True)
class Digits(Images):
    """Spec: the 1,797 handwritten digits, 8 x 8 and grey, that come with scikit-learn; the last fifth is held out.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """

    batch: int = 32

    def load(self) -> Labelled:
        """Return the digits, split in the order of the set (other people wrote its last part)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int32)
        cut = len(labels) * 4 // 5
        train, held = (Table({"image": images[part], "label": labels[part]}) for part in (np.s_[:cut], np.s_[cut:]))
        return Labelled(train, labels[:cut], held, labels[cut:], tuple(map(str, digits.target_names)))


@dataclass(frozen=True, kw_only=True)
class TfdsImages(Images):
    """Spec: the images of a TFDS dataset, read from array_record files without TensorFlow.

    Attributes:
        name: the dataset, such as "mnist" or "cifar10".
        train_split: the training split, such as "train" or "train[:90%]".
        eval_split: the evaluation split.
        size: height and width that images are resized to; None: as they are.
        crop: how they become square, see `Decoded`.
        arrays: read train.npz and test.npz of this folder instead, see `ArrayImages`; class names are their numbers.
    """

    name: str = "mnist"
    train_split: str = "train"
    eval_split: str = "test"
    size: int | None = None
    crop: Crop = "squash"
    arrays: str | None = None

    def load(self) -> Labelled:
        """Return the images of both splits.

        Raises:
            BadInput: the dataset is not prepared, or has no such split, or no images with labels.
        """
        if self.arrays is not None:
            return ArrayImages(folder=self.arrays).load()
        train, held = (self._split(split) for split in (self.train_split, self.eval_split))
        names = tuple(map(str, open_dataset(self.name).info.features["label"].names))
        return Labelled(train, labels_of(train), held, labels_of(held), names)

    def _split(self, split: str) -> Source:
        features = open_dataset(self.name).info.features
        if "image" not in features or "label" not in features or not hasattr(features["label"], "names"):
            raise BadInput(f"{self.name} has no `image` with a `label`: it has {', '.join(sorted(features))}")
        height, width, channels = features["image"].shape
        size = height if self.size is None and height == width else self.size
        return in_memory(Decoded(TfdsFiles(self.name, split), size, 1 if channels == 1 else 3, self.crop))


class TfdsFiles:
    """The encoded images of a split; opened when first read, so that it may be sent to another process."""

    def __init__(self, dataset: str, split: str) -> None:
        self.dataset, self.split = dataset, split
        self._source: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    @property
    def source(self) -> Any:
        """Return the tfds data source, with images as the bytes of their files."""
        if self._source is None:
            import tensorflow_datasets as tfds

            builder = open_dataset(self.dataset)
            try:
                decoders = {"image": tfds.decode.SkipDecoding()}
                self._source = builder.as_data_source(split=self.split, decoders=decoders)
            except (KeyError, ValueError):
                splits = ", ".join(builder.info.splits)
                raise BadInput(
                    f"{self.dataset} has no split {self.split!r}: it has {splits}, and slices that are not empty"
                ) from None
        return self._source

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes of image files and their labels; many at a call, which is ten times as fast."""
        return [(example["image"], int(example["label"])) for example in self.source.__getitems__(rows)]

    def name(self, row: int) -> str:
        """Return what to call it in a message."""
        return f"example {row} of {self.dataset} {self.split}"

    def identity(self) -> str:
        """Return a digest of the dataset's own description, and of the split."""
        info = (find_dataset(self.dataset) / "dataset_info.json").read_bytes()
        return digest(self.dataset, hashlib.sha256(info).hexdigest(), self.split)
