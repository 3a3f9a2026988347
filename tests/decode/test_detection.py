"""Boxes are chosen as by a loop in Python; those of a row are its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode.detection import Detect, overlaps, suppress
from jaxlm.errors import BadInput
from jaxlm.models.fcos import Places

DRAW = np.random.default_rng(0)


def iou(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.maximum(high - low, 0).prod()
    return shared / max((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared, 1e-9)


def random_boxes(count):
    corner = DRAW.uniform(0, 30, (count, 2))
    return np.concatenate([corner, corner + DRAW.uniform(0, 20, (count, 2))], 1).astype(np.float32)


def test_suppression_is_that_of_a_loop():
    for _ in range(5):
        boxes, classes = random_boxes(60), DRAW.integers(0, 2, 60)
        scores = np.sort(DRAW.uniform(0, 1, 60).astype(np.float32))[::-1] * (np.arange(60) < 50)
        found = np.asarray(jax.jit(suppress, static_argnums=3)(boxes, scores, classes, 0.4))
        kept = []
        for number in range(50):
            rivals = [other for other in kept if classes[other] == classes[number]]
            if all(iou(boxes[number], boxes[other]) <= 0.4 for other in rivals):
                kept.append(number)
        assert np.flatnonzero(found).tolist() == kept
        assert 5 < len(kept) < 50
    pairs = np.asarray(overlaps(jnp.asarray(boxes[:7]), jnp.asarray(boxes[7:12])))
    np.testing.assert_allclose(pairs, [[iou(a, b) for b in boxes[7:12]] for a in boxes[:7]], rtol=1e-4, atol=1e-6)


def said(rows=3, count=50, classes=2):
    arrays = (DRAW.normal(size=(rows, count, classes)), DRAW.uniform(1, 12, (rows, count, 4)))
    rest = (DRAW.normal(size=(rows, count)), DRAW.uniform(0, 40, (count, 2)), np.full(count, 8))
    return Places(*(jnp.asarray(x, jnp.float32) for x in (*arrays, *rest)))


def test_boxes_are_sorted_cut_at_the_image_and_a_function_of_their_row():
    places, extent = said(), jnp.float32([[40, 40], [30, 20], [40, 40]])
    find = jax.jit(Detect(score=0.2, candidates=40, overlap=0.5, most=10))
    found = find(places, extent, jnp.zeros(3))
    assert found.boxes_BM4.shape == (3, 10, 4)
    for row in range(3):
        count = int((found.scores_BM[row] > 0).sum())
        scores = np.asarray(found.scores_BM[row, :count])
        assert (np.diff(scores) <= 0).all()
        assert (scores >= 0.2).all()
        boxes = np.asarray(found.boxes_BM4[row, :count])
        assert (boxes >= 0).all()
        assert (boxes <= np.tile(extent[row], 2)).all()
        alone = find(
            places._replace(**{n: getattr(places, n)[row : row + 1] for n in places._fields[:3]}),
            extent[row : row + 1],
            jnp.zeros(1),
        )
        np.testing.assert_allclose(alone.boxes_BM4[0], found.boxes_BM4[row], rtol=1e-5)
    surer = find(places, extent, jnp.full(3, 0.77))
    assert ((surer.scores_BM == 0) | (surer.scores_BM >= 0.77)).all()
    assert (surer.scores_BM > 0).sum() < (found.scores_BM > 0).sum()


def test_what_cannot_be_is_one_line():
    for field in ({"score": 1.0}, {"overlap": 0.0}, {"most": 400}):
        with pytest.raises(BadInput, match=r"^decode is [^\n]+$"):
            Detect(**field)
