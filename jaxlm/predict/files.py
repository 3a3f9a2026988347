"""Files of answers that are sound or pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.audio.files import write_wav
from jaxlm.data.boxes.draw import draw_boxes
from jaxlm.data.images.sheet import picture_png, write_png


def keep_file(path: Path, answer: dict[str, Any], given: Any) -> dict[str, Any]:
    """Write the sound or picture of an answer to a file of this name without its suffix, and name it in its place.

    Boxes stay, beside the name of the picture of `given`, the path of an image, that they are drawn on.
    """
    if "samples" in answer:
        path = path.with_name(f"{path.name}.wav")
        write_wav(path, answer["samples"], answer["rate"])
        return {"audio": str(path), **{key: x for key, x in answer.items() if key != "samples"}}
    if "pixels" in answer:
        path = path.with_name(f"{path.name}.png")
        write_png(path, picture_png(np.array(answer["pixels"], np.uint8)))
        return {"picture": str(path), **{key: x for key, x in answer.items() if key != "pixels"}}
    if "boxes" in answer:
        path, names = path.with_name(f"{path.name}.png"), sorted({box["label"] for box in answer["boxes"]})
        texts = [f"{box['label']} {box['score']:.2f}" for box in answer["boxes"]]
        colours = [names.index(box["label"]) for box in answer["boxes"]]
        write_png(path, draw_boxes(Path(given).read_bytes(), [box["box"] for box in answer["boxes"]], texts, colours))
        return {"picture": str(path), **answer}
    return answer
