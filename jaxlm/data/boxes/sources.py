"""Specs of images with boxes: COCO's JSON, Pascal VOC's XML, and TFDS."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from jaxlm.data.boxes.rows import Annotated, BoxSplit
from jaxlm.data.boxes.scenes import Scenes
from jaxlm.data.images.folder import FolderFiles
from jaxlm.data.images.sources import TfdsFiles
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import read_bytes
from jaxlm.data.tfds import open_dataset
from jaxlm.errors import BadInput


def annotated(files: Any, found: Sequence[Sequence[tuple[Any, int, bool]]], names: Sequence[str]) -> Annotated:
    """Return images with their boxes.

    Args:
        files: the images.
        found: of each image its boxes: (left, top, right, bottom), class, whether it is a crowd.
        names: of the classes.
    """
    boxes = tuple(np.array([box for box, _, _ in one], np.float64).reshape(-1, 4) for one in found)
    classes = tuple(np.array([number for _, number, _ in one], np.int32) for one in found)
    return Annotated(
        files, boxes, classes, tuple(np.array([c for _, _, c in one], bool) for one in found), tuple(names)
    )


@dataclass(frozen=True, kw_only=True)
class CocoBoxes(Scenes):
    """Spec: images and the JSON of COCO's detection (Lin et al. 2014, arXiv:1405.0312).

    Attributes:
        train_images: folder of the training images.
        train_file: their annotations: "images", "annotations" with "bbox" [left, top, width, height], "categories".
        eval_images: folder of the evaluation images.
        eval_file: their annotations, with the same categories.
    """

    train_images: str = "train2017"
    train_file: str = "annotations/instances_train2017.json"
    eval_images: str = "val2017"
    eval_file: str = "annotations/instances_val2017.json"

    def signature(self) -> Hashable:
        """Return sizes and times of the annotations."""
        paths = [Path(name).expanduser() for name in (self.train_file, self.eval_file)]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file())

    def load(self) -> tuple[BoxSplit, BoxSplit]:
        """Return both splits.

        Raises:
            BadInput: a file is not there or has another form, or the categories of the splits differ.
        """
        train = read_coco(Path(self.train_file).expanduser(), Path(self.train_images).expanduser())
        evaluation = read_coco(Path(self.eval_file).expanduser(), Path(self.eval_images).expanduser())
        if train.annotated.names != evaluation.annotated.names:
            raise BadInput(f"{self.train_file} and {self.eval_file} have other categories: give both the same")
        return train, evaluation


def read_coco(path: Path, folder: Path) -> BoxSplit:
    """Read annotations in COCO's form.

    Args:
        path: the JSON.
        folder: of the images.

    Raises:
        BadInput: it has another form; names what is missing.
    """
    found = parse_json(read_bytes(path).decode("utf-8", "replace"), str(path))
    try:
        categories = sorted((int(one["id"]), str(one["name"])) for one in found["categories"])
        numbers = {key: number for number, (key, _) in enumerate(categories)}
        places = {one["id"]: place for place, one in enumerate(found["images"])}
        files = [folder / str(one["file_name"]) for one in found["images"]]
        sizes = [(int(one["width"]), int(one["height"])) for one in found["images"]]
        boxes: list[list[tuple[Any, int, bool]]] = [[] for _ in files]
        for one in found["annotations"]:
            left, top, width, height = map(float, one["bbox"])
            if one["image_id"] not in places or one["category_id"] not in numbers:
                raise BadInput(f"{path}: annotation {one['id']} is of an image or a category that is not there")
            box = (left, top, left + width, top + height)
            boxes[places[one["image_id"]]].append((box, numbers[one["category_id"]], bool(one.get("iscrowd", 0))))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} is not a COCO detection file ({type(error).__name__}: {error}): it has images, annotations and "
            "categories, each with an id"
        ) from None
    check_files(files)
    return BoxSplit(annotated(FolderFiles(tuple(files), (0,) * len(files)), boxes, [n for _, n in categories]), sizes)


def check_files(files: Sequence[Path]) -> None:
    """Raise BadInput that names images which are annotated and not there."""
    if missing := [path for path in files if not path.is_file()]:
        raise BadInput(
            f"{len(missing)} of {len(files)} annotated images are not there, the first of them {missing[0]}: add them"
        )


@dataclass(frozen=True, kw_only=True)
class VocBoxes(Scenes):
    """Spec: a folder of Pascal VOC (Everingham et al. 2010): Annotations, ImageSets/Main and JPEGImages.

    Objects that are marked difficult are left out.

    Attributes:
        path: the folder.
        train_set: the list of training images, a file ImageSets/Main/NAME.txt.
        eval_set: the list of evaluation images.
        classes: names of the classes; empty: those of the training images, sorted.
    """

    path: str = "VOC2012"
    train_set: str = "train"
    eval_set: str = "val"
    classes: tuple[str, ...] = ()

    def load(self) -> tuple[BoxSplit, BoxSplit]:
        """Return both splits.

        Raises:
            BadInput: a file is not there or has another form, or a class is not among the names.
        """
        root = Path(self.path).expanduser()
        both = [read_voc(root, name) for name in (self.train_set, self.eval_set)]
        names = self.classes or tuple(sorted({name for one in both[0] for name, _ in one.objects}))
        return voc_part(root, both[0], names), voc_part(root, both[1], names)


class VocImage(NamedTuple):
    """An image of Pascal VOC: its name, its (width, height), and its objects as (name, box)."""

    name: str
    size: tuple[int, int]
    objects: list[tuple[str, tuple[float, ...]]]


def read_voc(root: Path, name: str) -> list[VocImage]:
    """Read the images of a list.

    Raises:
        BadInput: a file is not there, or has another form.
    """
    lines = read_bytes(root / "ImageSets" / "Main" / f"{name}.txt").decode("utf-8", "replace").split("\n")
    return [read_voc_image(root / "Annotations" / f"{line.split()[0]}.xml") for line in lines if line.strip()]


def read_voc_image(path: Path) -> VocImage:
    """Read the XML of an image; a corner of VOC is the number of a pixel from 1, whose outer edges a box here has.

    Raises:
        BadInput: it is not there, or has another form.
    """
    content = read_bytes(path)
    if re.search(rb"<!(DOCTYPE|ENTITY)", content):
        raise BadInput(f"{path} declares a document type, which may hide more than it shows: take it out")
    try:
        tree = ElementTree.fromstring(content)
        size = tuple(int(_text(tree, f"size/{side}")) for side in ("width", "height"))
        objects = []
        for one in tree.iter("object"):
            if one.findtext("difficult", "0").strip() != "1":
                corners = [float(_text(one, f"bndbox/{corner}")) for corner in ("xmin", "ymin", "xmax", "ymax")]
                objects.append((_text(one, "name"), (corners[0] - 1, corners[1] - 1, *corners[2:])))
    except (ElementTree.ParseError, ValueError) as error:
        raise BadInput(f"{path} is not a Pascal VOC annotation ({error}): repair it") from None
    return VocImage(path.stem, (size[0], size[1]), objects)


def _text(tree: Any, path: str) -> str:
    found = tree.findtext(path)
    if found is None:
        raise ValueError(f"no {path}")
    return str(found).strip()


def voc_part(root: Path, images: Sequence[VocImage], names: Sequence[str]) -> BoxSplit:
    """Return the images of a list with their boxes.

    Raises:
        BadInput: an object is of a class without a name, or an image is not there.
    """
    numbers, found = {name: number for number, name in enumerate(names)}, []
    for one in images:
        if odd := [name for name, _ in one.objects if name not in numbers]:
            raise BadInput(
                f"{root}: {one.name}.xml has a {odd[0]!r}, which is not among the classes: name it or leave it"
            )
        found.append([(box, numbers[name], False) for name, box in one.objects])
    files = [root / "JPEGImages" / f"{one.name}.jpg" for one in images]
    check_files(files)
    return BoxSplit(annotated(FolderFiles(tuple(files), (0,) * len(files)), found, names), [one.size for one in images])


@dataclass(frozen=True, kw_only=True)
class TfdsBoxes(Scenes):
    """Spec: the images and boxes of a TFDS dataset, read from array_record files without TensorFlow.

    Attributes:
        name: the dataset, such as "bccd", "coco/2017" or "voc/2012".
        train_split: the training split.
        eval_split: the evaluation split.
    """

    name: str = "bccd"
    train_split: str = "train"
    eval_split: str = "test"

    def load(self) -> tuple[BoxSplit, BoxSplit]:
        """Return both splits.

        Raises:
            BadInput: the dataset is not prepared, has no such split, or has no images with objects.
        """
        return self._part(self.train_split), self._part(self.eval_split)

    def _part(self, split: str) -> BoxSplit:
        files = TfdsScenes(self.name, split)
        features = open_dataset(self.name).info.features
        if "image" not in features or "objects" not in features:
            raise BadInput(f"{self.name} has no `image` with `objects`: it has {', '.join(sorted(features))}")
        return files.part


class TfdsScenes(TfdsFiles):
    """The encoded images of a split and their boxes."""

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the bytes of these images, which have no label."""
        return [(example["image"], 0) for example in self.source.__getitems__(rows)]

    @cached_property
    def part(self) -> BoxSplit:
        """The boxes, which TFDS has as [top, left, bottom, right], shares of the image; it is opened for its size."""
        from jaxlm.data.images.decode import MAX_PIXELS, open_image

        names, found, sizes = open_dataset(self.dataset).info.features["objects"]["label"].names, [], []
        for row, example in enumerate(self.source.__getitems__(range(len(self)))):
            try:
                with open_image(example["image"], MAX_PIXELS) as opened:
                    sizes.append(opened.size)
            except (OSError, SyntaxError, ValueError) as error:
                raise BadInput(f"{self.name(row)} is not a readable image ({error})") from None
            width, height = sizes[-1]
            objects = example["objects"]
            corners = np.asarray(objects["bbox"], np.float64).reshape(-1, 4)[:, [1, 0, 3, 2]]
            corners = corners * np.array([width, height, width, height])
            crowds = objects.get("is_crowd", np.zeros(len(corners), bool))
            triples = zip(corners, np.asarray(objects["label"]).tolist(), np.asarray(crowds).tolist(), strict=True)
            found.append([(corner, int(label), bool(crowd)) for corner, label, crowd in triples])
        return BoxSplit(annotated(self, found, names), sizes)
