"""Answer with the boxes of what is in an image, and score boxes in an evaluation.

B batch, M boxes of an image. A box is (left, top, right, bottom) in pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.boxes.draw import draw_boxes
from jaxlm.data.boxes.rows import OnCanvas, place_image
from jaxlm.data.images.decode import MAX_PIXELS, from_pixels, open_image
from jaxlm.data.images.decoded import UNREADABLE
from jaxlm.data.protocol import Batch
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import file_bytes
from jaxlm.decode.detection import Detect, DetectSet
from jaxlm.errors import BadInput
from jaxlm.metrics.boxes import BoxPrecision
from jaxlm.predict.classes import read_class_names
from jaxlm.predict.images import from_array, on_all_cores, unreadable
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import CLASSES, RunDirectory
from jaxlm.steps import LossFn, Metrics, Model

SURE = 0.3  # the least score of a box that is drawn or answered


def detected(model: Model, decode: Detect | DetectSet) -> LossFn:
    """Return a function with the arguments of a loss that gives the boxes of each image for the metrics.

    They are {"boxes": float32 [B, M, 4], "scores": float32 [B, M], 0 where there is none, "classes": int32 [B, M]}.
    """

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key
        said = model.apply({"params": params, **variables}, batch["image"], train=train)
        least_B = batch.get("least", jnp.zeros(batch["extent"].shape[0]))
        found = decode(said, batch["extent"], least_B)
        return {"boxes": found.boxes_BM4, "scores": found.scores_BM, "classes": found.classes_BM}, variables

    return function


def score_boxes(found: dict[str, np.ndarray], batch: Batch) -> Metrics:
    """Score the boxes of `detected` against those of a batch: "map" and "map50", COCO's."""
    answers, truth, images = [], [], []
    for row in np.flatnonzero(batch["mask"] > 0):
        number = float(batch["number"][row])
        images.append(int(number))
        for place in np.flatnonzero(found["scores"][row] > 0):
            score, label = found["scores"][row, place], found["classes"][row, place]
            answers.append([number, *_corner_and_size(found["boxes"][row, place]), float(score), float(label)])
        for place in np.flatnonzero(batch["classes"][row] >= 0):
            crowd, label = batch["crowd"][row, place], batch["classes"][row, place]
            truth.append([number, *_corner_and_size(batch["boxes"][row, place]), float(crowd), float(label)])
    found_N7, truth_M7 = (np.array(rows, np.float64).reshape(-1, 7) for rows in (answers, truth))
    whole = BoxPrecision(found_N7, truth_M7, np.array(images, np.int64))
    return {"map": whole, "map50": whole._replace(at=0.5)}


def _corner_and_size(box: np.ndarray) -> list[float]:
    left, top, right, bottom = box.astype(np.float64).tolist()
    return [left, top, right - left, bottom - top]


@dataclass(frozen=True)
class ReadScenes:
    """Read image files, bytes of them, or arrays uint8 [H, W] or [H, W, C], and put them on a canvas.

    Rows: "image" uint8 [H, W, 3], "extent" float32 [2], "least" float32, the least score of a box.

    Attributes:
        size: (H, W) of the canvas.
        score: the least score of a box that is answered.
        max_pixels: the most pixels that a file may have.
    """

    size: tuple[int, int]
    score: float = SURE
    max_pixels: int = MAX_PIXELS

    options: ClassVar[tuple[str, ...]] = ("score",)

    def __post_init__(self) -> None:
        """Check the options; raises BadInput."""
        if not 0 <= self.score < 1:
            raise BadInput(f"score is {self.score}: give a number from 0 to below 1")

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Return the row of each image, or why it cannot be read; decoded on all cores."""
        return on_all_cores(self.prepared, inputs)

    def prepared(self, image: Any) -> Prepared | BadInput:
        """Return one image as its row, or why it cannot be read."""
        try:
            placed, size = self.placed(image)
        except BadInput as error:
            return error
        except UNREADABLE as error:
            return unreadable(error)
        least, extent = np.asarray(self.score, np.float32), np.asarray(placed.extent, np.float32)
        row = {"image": placed.pixels, "extent": extent, "least": least}
        return Prepared([row], {"scale": placed.scale, "size": list(size)})

    def placed(self, image: Any) -> tuple[OnCanvas, tuple[int, int]]:
        """Return an image on its canvas, and its own (width, height)."""
        if isinstance(image, (str, Path)):
            image = file_bytes(Path(image).expanduser())
        if isinstance(image, bytes):
            with open_image(image, self.max_pixels) as opened:
                return place_image(opened, self.size), opened.size
        picture = from_array(image)
        return place_image(picture, self.size), picture.size


@dataclass(frozen=True)
class WriteBoxes:
    """Answer with {"boxes": [{"label", "score", "box": [left, top, right, bottom]}], "width", "height"}, of the file.

    Attributes:
        names: of the classes.
    """

    names: tuple[str, ...]

    def __call__(self, outputs: Sequence[Example], context: Any) -> Answer:
        """Return the answer for one image, the surest box first."""
        found, boxes = outputs[0], []
        for box, score, label in zip(found["boxes"], found["scores"], found["classes"], strict=True):
            if score > 0:
                corners = [round(float(x) / context["scale"], 2) for x in box]
                boxes.append({"label": self.names[int(label)], "score": float(score), "box": corners})
        return {"boxes": boxes, "width": context["size"][0], "height": context["size"][1]}


def drawn_boxes(function: LossFn, variables: Any, data: Any, names: Sequence[str], count: int) -> dict[str, bytes]:
    """Return PNGs of the first images of the evaluation with their boxes drawn, by file name.

    Args:
        function: see `box_finder`.
        variables: of the model.
        data: the evaluation.
        names: of the classes.
        count: how many images.
    """
    batch = data[0]
    found, files = jax.device_get(jax.jit(in_evaluation(function))(variables, batch)), {}
    for row in range(min(count, len(batch["image"]))):
        sure = np.flatnonzero(found["scores"][row] >= SURE)
        labels, (wide, high) = found["classes"][row, sure], batch["extent"][row].astype(int)
        texts = [f"{names[label]} {score:.2f}" for label, score in zip(labels, found["scores"][row, sure], strict=True)]
        picture = from_pixels(batch["image"][row, :high, :wide])
        files[f"image-{row}.png"] = draw_boxes(picture, found["boxes"][row, sure].tolist(), texts, labels.tolist())
    return files


def box_finder(function: LossFn, batch: int, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that finds boxes.

    Args:
        function: `detected(...)` under the transforms that the loss is under.
        batch: images of an evaluation batch.
        run: whose classes.json says names and shape.
    """
    match parse_json(run.artefact(CLASSES), str(run.path / CLASSES)):
        case {"shape": [int(height), int(width), 3]} if min(height, width) > 0:
            read = ReadScenes((height, width))
        case _:
            raise BadInput(f"{run.path / CLASSES} has no shape of images: restore it from a copy, or train again")
    extent, least = np.zeros(2, np.float32), np.zeros((), np.float32)
    row: Example = {"image": np.zeros((*read.size, 3), np.uint8), "extent": extent, "least": least}
    return Predictor(read, in_evaluation(function), WriteBoxes(read_class_names(run)), (zeros(row, batch),))
