"""Specs of images from TFDS by name, from arrays, and scikit-learn's digits. Folders are in `folder`."""

import hashlib
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxlm.data.arrays import NOT_NPZ, ArraySource
from jaxlm.data.images.decode import MAX_PIXELS, Crop
from jaxlm.data.images.decoded import Decoded, fits_memory, labels_of, load_images, refuse_broken
from jaxlm.data.images.labelled import Images, LabelledImages
from jaxlm.data.order import RowSource
from jaxlm.data.protocol import json_sha256
from jaxlm.data.tfds import find_dataset, open_dataset
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class ArrayImages(Images):
    """Spec: images from .npz files with "images" uint8 [N, H, W, C] or [N, H, W] and "labels" integers [N].

    Attributes:
        folder: where the files are.
        train_file: the training images.
        eval_file: the evaluation images.
        max_bytes: the most that a file may take in memory.
        classes: names of the classes; empty: the numbers from 0 to the largest label of the training images.
    """

    folder: str = "."
    train_file: str = "train.npz"
    eval_file: str = "test.npz"
    classes: tuple[str, ...] = ()
    max_bytes: int = 1 << 32

    def load(self) -> LabelledImages:
        """Return the images of both files.

        Raises:
            BadInput: a file is missing or has other content.
        """
        train, evaluation = (
            read_npz(Path(self.folder) / name, self.max_bytes) for name in (self.train_file, self.eval_file)
        )
        largest = int(train.arrays["label"].max(initial=0))
        if not self.classes and largest >= len(train):
            raise BadInput(
                f"{Path(self.folder) / self.train_file}: a label is {largest}, and {len(train)} images cannot show "
                f"{largest + 1} classes: number the classes from 0"
            )
        names = self.classes or tuple(map(str, range(largest + 1)))
        return LabelledImages(train, train.arrays["label"], evaluation, evaluation.arrays["label"], names)


def read_npz(path: Path, max_bytes: int) -> ArraySource:
    """Return "image" uint8 [N, H, W, C] and "label" int32 [N] of a .npz file.

    Args:
        path: the file.
        max_bytes: the most that its arrays may take in memory, so that a small file cannot take all of it.

    Raises:
        BadInput: the file is missing or has other content.
    """
    path = path.expanduser()
    try:
        with path.open("rb") as file:
            if (size := decoded_bytes(file)) > max_bytes:
                raise BadInput(f"{path} takes {size:,} bytes decoded, and data.max_bytes is {max_bytes:,}: raise it")
            with np.load(file, allow_pickle=False) as found:
                images, labels = found["images"], found["labels"]
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(
            f"there is no file {path}: make it with np.savez({path.name!r}, images=..., labels=...)"
        ) from None
    except NOT_NPZ as error:
        reason = "" if isinstance(error, TypeError | ValueError) else f" ({error})"  # those speak of pickle
        raise BadInput(
            f"{path} is not a whole .npz file of `images` and `labels`{reason}: write it again with np.savez"
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
        raise BadInput(f"{path}: images are {list(images.shape)}, so there are none: add some")
    for label in (int(labels.min()), int(labels.max())):
        if not -(2**31) <= label < 2**31:
            raise BadInput(f"{path}: a label is {label}: number the classes from 0")
    return ArraySource({"image": images.reshape(*images.shape[:3], -1), "label": labels.astype(np.int32)})


def decoded_bytes(file: BinaryIO) -> int:
    """Return how many bytes `images` and `labels` of a .npz file take in memory, by the headers of file and arrays.

    Raises:
        One of `NOT_NPZ`: the file is no .npz file.
    """
    total = 0
    with zipfile.ZipFile(file) as found:
        for entry in (entry for entry in found.infolist() if entry.filename in ("images.npy", "labels.npy")):
            with found.open(entry) as array:
                version = np.lib.format.read_magic(array)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(array)
            total += max(math.prod(shape) * dtype.itemsize, entry.file_size)
    file.seek(0)
    return total


@dataclass(frozen=True, kw_only=True)
class Digits(Images):
    """Spec: the 1,797 handwritten digits of scikit-learn, 8 x 8 pixels and grey; the last fifth is for evaluation.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """

    batch: int = 32

    def load(self) -> LabelledImages:
        """Return the digits, split in the order of the set: its last part was written by other people."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int32)
        cut = len(labels) * 4 // 5
        train, evaluation = (
            ArraySource({"image": images[part], "label": labels[part]}) for part in (np.s_[:cut], np.s_[cut:])
        )
        return LabelledImages(train, labels[:cut], evaluation, labels[cut:], tuple(map(str, digits.target_names)))


@dataclass(frozen=True, kw_only=True)
class TfdsImages(Images):
    """Spec: the images of a TFDS dataset, read from array_record files without TensorFlow.

    Attributes:
        name: the dataset, such as "mnist" or "cifar10".
        train_split: the training split, such as "train" or "train[:90%]".
        eval_split: the evaluation split.
        size: height and width that images are resized to; None: as they are.
        crop: how images become square, see `Decoded`.
        max_pixels: the most pixels that an image may have.
        max_bytes: the most that a file of `arrays` may take in memory.
        arrays: a folder with train.npz and test.npz to read instead, see `ArrayImages`; classes are named by numbers.
    """

    name: str = "mnist"
    train_split: str = "train"
    eval_split: str = "test"
    size: int | None = None
    crop: Crop = "squash"
    max_pixels: int = MAX_PIXELS
    max_bytes: int = 1 << 32
    arrays: str | None = None

    def load(self) -> LabelledImages:
        """Return the images of both splits.

        Raises:
            BadInput: the dataset is not prepared, has no such split, or has no images with labels.
        """
        if self.arrays is not None:
            return ArrayImages(folder=self.arrays, max_bytes=self.max_bytes).load()
        train, evaluation = (self._split(split) for split in (self.train_split, self.eval_split))
        names = tuple(map(str, open_dataset(self.name).info.features["label"].names))
        return LabelledImages(train, labels_of(train), evaluation, labels_of(evaluation), names)

    def _split(self, split: str) -> RowSource:
        features = open_dataset(self.name).info.features
        if "image" not in features or "label" not in features or not hasattr(features["label"], "names"):
            raise BadInput(f"{self.name} has no `image` with a `label`: it has {', '.join(sorted(features))}")
        height, width, channels = features["image"].shape
        size = height if self.size is None and height == width else self.size
        source = Decoded(TfdsFiles(self.name, split), size, 1 if channels == 1 else 3, self.crop, self.max_pixels)
        if not fits_memory(source):
            return source
        images, broken = load_images(source)
        refuse_broken(broken, len(source), f"{self.name} {split}")
        return images


class TfdsFiles:
    """The encoded images of a split, opened when first read, so that they can be pickled to another process.

    Args:
        dataset: the name of the dataset.
        split: the split, such as "train[:90%]".
    """

    def __init__(self, dataset: str, split: str) -> None:
        self.dataset, self.split = dataset, split
        self._source: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    @property
    def source(self) -> Any:
        """Return the data source of tfds, with images as the bytes of their files."""
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
        """Return the bytes and labels of these images; many in one call is ten times as fast."""
        return [(example["image"], int(example["label"])) for example in self.source.__getitems__(rows)]

    def name(self, row: int) -> str:
        """Return the name of an image for a message."""
        return f"example {row} of {self.dataset} {self.split}"

    def identity(self) -> str:
        """Return a SHA-256 over the dataset's own description and the split."""
        info = (find_dataset(self.dataset) / "dataset_info.json").read_bytes()
        return json_sha256(self.dataset, hashlib.sha256(info).hexdigest(), self.split)
