"""COCO's average precision is pycocotools', however its parts are merged; without boxes it is what one expects."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxlm.metrics.boxes import BoxPrecision, coco_stats


def random_set(draw, images=4):
    truth, found = [], []
    for number in range(images):
        for _ in range(draw.integers(0, 5)):
            corner, size = draw.uniform(0, 80, 2), draw.uniform(4, 120, 2)
            label = draw.integers(0, 3)
            truth.append([number, *corner, *size, float(draw.random() < 0.1), label])
            for _ in range(draw.integers(0, 3)):
                moved = np.concatenate([corner + draw.normal(0, 4, 2), size * draw.uniform(0.7, 1.3, 2)])
                other = label if draw.random() < 0.8 else draw.integers(0, 3)
                found.append([number, *moved, draw.random(), other])
    arrays = (np.array(rows, np.float64).reshape(-1, 7) for rows in (found, truth))
    return BoxPrecision(*arrays, np.arange(images))


def by_pycocotools(boxes):
    whole, labels = COCO(), sorted({*boxes.truth[:, 6].astype(int), *boxes.found[:, 6].astype(int)})
    truth = [
        {"id": i, "image_id": int(n), "bbox": box, "area": box[2] * box[3], "iscrowd": int(c), "category_id": int(k)}
        for i, (n, *box, c, k) in enumerate(boxes.truth.tolist(), 1)
    ]
    images = [{"id": int(n)} for n in boxes.images]
    whole.dataset = {"annotations": truth, "images": images, "categories": [{"id": label} for label in labels]}
    answers = [
        {"image_id": int(n), "bbox": box, "score": score, "category_id": int(k)}
        for n, *box, score, k in boxes.found.tolist()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        whole.createIndex()
        scored = COCOeval(whole, whole.loadRes(answers), "bbox")
        scored.evaluate(), scored.accumulate(), scored.summarize()
    return scored.stats


@pytest.mark.parametrize("sets", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_numbers_are_those_of_pycocotools(sets):
    draw, compared = np.random.default_rng(sets), 0
    while compared < sets:
        boxes = random_set(draw)
        if len(boxes.found) and len(boxes.truth):
            np.testing.assert_allclose(coco_stats(boxes), by_pycocotools(boxes), atol=1e-6)
            compared += 1


def test_parts_are_merged_to_the_whole_and_nothing_is_nothing():
    boxes = random_set(np.random.default_rng(1), 6)
    even = [rows[:, 0] % 2 == 0 for rows in (boxes.found, boxes.truth)]
    parts = (BoxPrecision(boxes.found[even[0]], boxes.truth[even[1]], boxes.images[::2]),)
    parts += (BoxPrecision(boxes.found[~even[0]], boxes.truth[~even[1]], boxes.images[1::2]),)
    assert parts[0].merge(parts[1]).compute() == pytest.approx(boxes.compute(), abs=1e-9)
    half = boxes._replace(at=0.5)
    assert half.compute() == pytest.approx(by_pycocotools(boxes)[1], abs=1e-6)
    assert half.merge(half).at == 0.5
    perfect = np.concatenate([boxes.truth[:, :5], np.ones((len(boxes.truth), 1)), boxes.truth[:, 6:]], 1)
    assert boxes._replace(found=perfect, truth=boxes.truth * [1, 1, 1, 1, 1, 0, 1]).compute() == pytest.approx(1)
    assert boxes._replace(found=boxes.found[:0]).compute() == 0
    assert np.isnan(boxes._replace(truth=boxes.truth[:0]).compute())
    crowds = boxes.truth * [1, 1, 1, 1, 1, 0, 1] + [0, 0, 0, 0, 0, 1, 0]
    assert np.isnan(boxes._replace(truth=crowds).compute())  # which need not be found
