"""Images with boxes: what all specs share. The specs themselves are in `sources`, and what batches have in `rows`."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from jaxlm.data.boxes.augment import augment_boxes
from jaxlm.data.boxes.rows import BoxRows, BoxSplit, check_boxes
from jaxlm.data.images.augment import normalise
from jaxlm.data.images.decode import MAX_PIXELS
from jaxlm.data.model_checks import check_classes, first_names
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class LoadedScenes:
    """Both splits, and lines about what is odd in them."""

    train: BoxRows
    eval: BoxRows
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Spec: images with boxes around what is to be found.

    Attributes:
        size: (height, width) of the canvas that images are put on, as large as they fit, in its upper left corner.
        most: boxes that a row has room for.
        batch: images in a training batch.
        eval_batch: images in an evaluation batch; None: as in training.
        augment: operations of `jaxlm.data.boxes.augment`, applied on the device, in this order, in training.
        mean: of the channels of images in [0, 1], which is subtracted; one number, or one for each channel.
        std: standard deviation of the channels, by which they are divided then.
        broken: what to do with a box that has no area in its image: "fail" and name it, or "skip" such boxes and count
            them in `log_lines`.
        max_pixels: the most pixels that an image may have.
    """

    size: tuple[int, int] = (256, 256)
    most: int = 100
    batch: int = 8
    eval_batch: int | None = None
    augment: tuple[Any, ...] = ()
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    broken: Literal["fail", "skip"] = "fail"
    max_pixels: int = MAX_PIXELS

    def load(self) -> tuple[BoxSplit, BoxSplit]:
        """Return training and evaluation images."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when annotations change on disk, without reading them."""
        return ()

    def loaded(self) -> LoadedScenes:
        """Return both splits, read once a process.

        Raises:
            BadInput: images or annotations cannot be read, or a box cannot be.
        """
        return _load(self, self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; `noise` seeds the keys, from which augmentation draws."""
        return Shuffled(self.loaded().train, self.batch, seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every image exactly once."""
        return InOrder(self.loaded().eval, self.eval_batch or self.batch, keys=True)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers."""
        return self.loaded().train.part.names

    def artefacts(self) -> dict[str, str]:
        """Return classes.json: the names of the classes, and the shape that an image is brought into."""
        described = {"names": list(self.names()), "shape": [*self.size, 3]}
        return {"classes.json": json.dumps(described, indent=1) + "\n"}

    def log_lines(self) -> list[str]:
        """Return a line about each split, one about the classes, and what was cut."""
        found, names, lines = self.loaded(), self.names(), []
        for split, rows in (("train", found.train), ("eval", found.eval)):
            counts = {f"images, on {self.size[0]} x {self.size[1]}": len(rows)}
            counts |= {"boxes": sum(map(len, rows.part.boxes))}
            if empty := sum(not len(boxes) for boxes in rows.part.boxes):
                counts["images without a box"] = empty
            lines.append(summary_line(split, counts))
        return [*lines, f"classes: {len(names)} ({first_names(names)})", *found.notes]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "images"

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; float32 zeros [1, H, W, 3]."""
        return np.zeros((1, *self.size, 3), np.float32)

    def prepare(self, batch: Any) -> Any:
        """Normalise the images of a batch, in training and evaluation; for use inside a step."""
        return {**batch, "image": normalise(batch["image"], self.mean, self.std)}

    def augmented(self, batch: Any) -> Any:
        """Apply the random operations of `augment` to a training batch; for use inside a step."""
        return augment_boxes(self.augment, batch) if self.augment else batch

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the images cannot be read or do not fit a model: its `classes` and `queries`, if any."""
        del repeat
        if min(self.std) <= 0:
            raise BadInput(f"data.std is {self.std}: give numbers above 0, since images are divided by them")
        check_classes(model, self.names())
        queries = getattr(model, "queries", None)
        if queries is not None and self.most > queries:
            raise BadInput(
                f"a row has room for {self.most} boxes and the model gives {queries}: set --model.queries {self.most} "
                "or lower --data.most"
            )


@lru_cache(maxsize=4)
def _load(spec: Scenes, signature: Hashable) -> LoadedScenes:
    """Load both splits of a spec once a process, with their boxes checked."""
    del signature
    if min(*spec.size, spec.most) < 1:
        raise BadInput(f"data.size is {spec.size} and data.most {spec.most}: give at least 1")
    rows: list[BoxRows] = []
    notes: list[str] = []
    for name, part in zip(("train", "eval"), spec.load(), strict=True):
        if not len(part.annotated.files):
            raise BadInput(f"the {name} split has no images: add some")
        whole, counts = check_boxes(part, spec.most, spec.broken == "skip")
        notes += [f"{name}: {count} {what}" for what, count in counts.items() if count]
        rows.append(BoxRows(whole, spec.size, spec.most, part.sizes, spec.max_pixels))
        rows[-1].check()
    if not sum(map(len, rows[0].part.boxes)):
        raise BadInput("the train split has no boxes: add some")
    return LoadedScenes(rows[0], rows[1], tuple(notes))
