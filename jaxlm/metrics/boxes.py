"""Mean average precision of boxes, on the host: the home of faster-coco-eval."""

from typing import Any, NamedTuple

import numpy as np

from jaxlm.errors import BadInput

STATS = {None: 0, 0.5: 1, 0.75: 2}  # overlap -> its place among COCO's numbers


class BoxPrecision(NamedTuple):
    """COCO's average precision of boxes over all classes (Lin et al. 2014, arXiv:1405.0312), by faster-coco-eval.

    Attributes:
        found: float64 [N, 7]: number of the image, left, top, width, height, score, number of the class.
        truth: float64 [M, 7]: number of the image, left, top, width, height, 1 for a crowd, number of the class.
        images: int64, numbers of all images, of those without boxes too.
        at: the overlap (IoU) of a hit, 0.5 or 0.75; None: the mean over 0.50, 0.55 ... 0.95.
    """

    found: np.ndarray
    truth: np.ndarray
    images: np.ndarray
    at: float | None = None

    def merge(self, other: "BoxPrecision") -> "BoxPrecision":
        """Return the precision over the images of both."""
        found, truth, images = (np.concatenate(pair) for pair in zip(self[:3], other[:3], strict=True))
        return BoxPrecision(found, truth, images, self.at)

    def compute(self) -> float:
        """Return the precision, from 0 to 1; NaN where there are no boxes to find."""
        if self.truth[:, 5].all():  # crowds need not be found
            return float("nan")
        if not len(self.found):
            return 0.0
        return float(coco_stats(self)[STATS[self.at]])


def coco_stats(boxes: BoxPrecision) -> np.ndarray:
    """Return the twelve numbers of COCO's evaluation of boxes."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        raise BadInput('scores of boxes need faster-coco-eval: pip install "jaxlm[detection]"') from None
    truth = [
        {
            "id": number,
            "image_id": int(image),
            "bbox": [float(x) for x in box],
            "area": float(box[2] * box[3]),
            "iscrowd": int(crowd),
            "category_id": int(label),
        }
        for number, (image, *box, crowd, label) in enumerate(boxes.truth, 1)
    ]
    found = [
        {"image_id": int(image), "bbox": [float(x) for x in box], "score": float(score), "category_id": int(label)}
        for image, *box, score, label in boxes.found
    ]
    labels = sorted({int(label) for label in boxes.truth[:, 6]} | {int(label) for label in boxes.found[:, 6]})
    whole: dict[str, Any] = {
        "images": [{"id": int(number)} for number in boxes.images],
        "annotations": truth,
        "categories": [{"id": label, "name": str(label)} for label in labels],
    }
    asked = COCO(whole)
    scored = COCOeval_faster(asked, asked.loadRes(found), "bbox", print_function=lambda *_: None)
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return np.asarray(scored.stats, np.float64)
