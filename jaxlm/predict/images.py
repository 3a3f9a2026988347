"""Answer with the class of an image: a file, its bytes, or an array of its pixels."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.images.decode import MAX_PIXELS, Crop, decode, fit_image, from_pixels
from jaxlm.data.images.decoded import READ_AHEAD, UNREADABLE
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import file_bytes
from jaxlm.errors import BadInput
from jaxlm.predict.classes import ClassProbabilities, read_class_names
from jaxlm.predict.predictor import Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import CLASSES, RunDirectory
from jaxlm.steps import LossFn


@dataclass(frozen=True)
class ReadImages:
    """Read image files, bytes of them, or arrays uint8 [H, W] or [H, W, C], and bring them into one shape.

    Attributes:
        shape: height, width and channels of the images that the model was trained on.
        crop: how an image of another shape is brought into it, see `jaxlm.data.images.decode`.
        max_pixels: the most pixels that a file may have.
    """

    shape: tuple[int, int, int]
    crop: Crop = "squash"
    max_pixels: int = MAX_PIXELS

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Return {"image": uint8 [H, W, C]} for each input, or why it cannot be read; decoded on all cores."""
        return on_all_cores(self.prepared, inputs)

    def prepared(self, image: Any) -> Prepared | BadInput:
        """Return one image as its row, or why it cannot be read."""
        try:
            return Prepared([self.row(image)])
        except BadInput as error:
            return error
        except UNREADABLE as error:
            return unreadable(error)

    def row(self, image: Any) -> Example:
        """Return one image as its row.

        Raises:
            OSError, SyntaxError, ValueError: it cannot be read.
        """
        height, width, channels = self.shape
        if isinstance(image, (str, Path)):
            image = file_bytes(Path(image).expanduser())
        if isinstance(image, bytes):
            return {"image": decode(image, (height, width), channels, self.crop, None, self.max_pixels)}
        return {"image": fit_image(from_array(image), (height, width), channels, self.crop, None)}


def on_all_cores(
    prepared: Callable[[Any], Prepared | BadInput], inputs: Iterable[Any]
) -> Iterator[Prepared | BadInput]:
    """Yield what a function makes of each input, in order, computed on all cores, some inputs ahead."""
    rest = iter(inputs)
    first = list(islice(rest, 2))
    if len(first) < 2:  # threads would cost more than they save
        yield from map(prepared, first)
        return
    rest = chain(first, rest)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(islice(rest, READ_AHEAD)):
            yield from pool.map(prepared, some)


def unreadable(error: Exception) -> BadInput:
    """Return the error for an image that cannot be decoded."""
    return BadInput(f"not a readable image ({getattr(error, 'strerror', None) or error}): repair it or leave it out")


def from_array(image: Any) -> Any:
    """Return an image of Pillow from an array of uint8 [H, W] or [H, W, 1, 3 or 4].

    Raises:
        BadInput: it is no such array.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,), (4,)):
        raise BadInput(
            f"an image of {pixels.dtype} {list(pixels.shape)}: give a path, or an array of uint8, 0 to 255, "
            "[height, width] or [height, width, 1, 3 or 4]"
        )
    return from_pixels(pixels)


def image_classifier(logits: LossFn, data: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run that classifies images.

    Args:
        logits: `forward(model, IMAGE)` under the transforms that the loss is under.
        data: the `data` of the config, for the size of the evaluation's batches.
        run: whose classes.json says names, shape and crop.
    """
    described = parse_json(run.artefact(CLASSES), str(run.path / CLASSES))
    shape, crop = (described.get(name) if isinstance(described, dict) else None for name in ("shape", "crop"))
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
        raise BadInput(f"{run.path / CLASSES} has no shape of images: restore it from a copy, or train again")
    preprocess = ReadImages((shape[0], shape[1], shape[2]), "squash" if crop is None else crop)
    example = {"image": np.zeros(preprocess.shape, np.uint8)}
    return Predictor(
        preprocess,
        in_evaluation(logits),
        ClassProbabilities(read_class_names(run)),
        (zeros(example, data.eval_batch or data.batch),),
    )
