"""What is said of an image is its own; boxes are in the image; every weight has a gradient; the surest come first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.decode.detection import DetectSet
from jaxlm.errors import BadInput
from jaxlm.models.detr import DETR, BoxSet

MODEL = DETR(classes=2, queries=5, widths=(4,), width=8, heads=2, encoder_depth=1, decoder_depth=2, hidden=8)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, 24, 40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(images):
    found = jax.jit(MODEL.init)(jax.random.key(0), images)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), found)


def test_a_query_says_the_same_of_an_image_in_any_batch(images, variables):
    apply = partial(jax.jit(MODEL.apply), variables)
    found = apply(images)
    assert found.logits_LBQK.shape == (2, 3, 5, 3)
    assert found.boxes_LBQ4.shape == (2, 3, 5, 4)
    assert ((found.boxes_LBQ4 > 0) & (found.boxes_LBQ4 < 1)).all()
    np.testing.assert_array_equal(found.canvas_2, [40, 24])
    alone = apply(images[1:2])
    np.testing.assert_allclose(alone.logits_LBQK[:, 0], found.logits_LBQK[:, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone.boxes_LBQ4[:, 0], found.boxes_LBQ4[:, 1], rtol=1e-4, atol=1e-5)
    assert np.abs(found.logits_LBQK[:, 0] - found.logits_LBQK[:, 1]).max() > 1e-3  # the image matters
    assert np.abs(np.diff(found.logits_LBQK, axis=2)).max() > 1e-3  # and so does the query


def test_a_query_sees_all_others_and_where_things_are(images, variables):
    """No query is before another, and a mirrored image has other answers than mirrored features would have."""
    params, apply = variables["params"], jax.jit(MODEL.apply)
    order = np.array([3, 1, 4, 0, 2])
    turned = apply({"params": params | {"places": params["places"][order]}}, images)
    found = apply(variables, images)
    np.testing.assert_allclose(turned.boxes_LBQ4, found.boxes_LBQ4[:, :, order], rtol=1e-4, atol=1e-5)
    mirrored = apply(variables, images[:, :, ::-1])
    assert np.abs(mirrored.boxes_LBQ4 - found.boxes_LBQ4).max() > 1e-4


def test_every_weight_of_the_set_has_a_gradient(images, variables):
    def total(params):
        found = MODEL.apply({"params": params}, images)
        return jnp.square(found.logits_LBQK).sum() + jnp.square(found.boxes_LBQ4).sum()

    gradient = jax.jit(jax.grad(total))(variables["params"])
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(gradient))


def test_the_surest_queries_are_answered_in_pixels_and_cut_at_the_image():
    logits = np.log(np.float32([[[[0.2, 0.7, 0.1], [0.02, 0.03, 0.95], [0.5, 0.4, 0.1]]]]))
    boxes = np.float32([[[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1], [0.9, 0.5, 0.4, 1.0]]]])
    other = np.concatenate([logits[:, :, ::-1] * 0, logits], 1), np.concatenate([boxes, boxes], 1)
    said = BoxSet(*(jnp.concatenate([jnp.zeros_like(x), x]) for x in map(jnp.asarray, other)), jnp.float32([100, 50]))
    extents = jnp.float32([[100, 50], [90, 50]])
    found = DetectSet(score=0.1)(said, extents, jnp.zeros(2))
    np.testing.assert_allclose(found.scores_BM[1], [0.7, 0.5, 0], rtol=1e-5)
    np.testing.assert_array_equal(found.classes_BM[1, :2], [1, 0])
    np.testing.assert_allclose(found.boxes_BM4[1, :2], [[40, 15, 60, 35], [70, 0, 90, 50]], rtol=1e-5)
    few = DetectSet(score=0.1, most=1)(said, extents, jnp.float32([0, 0.8]))
    assert few.scores_BM.shape == (2, 1)
    assert few.scores_BM[1, 0] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MODEL.clone(heads=3).validate(), "model.width is 8: it must be a multiple of 4 and of model.heads, 3"),
        (lambda: MODEL.clone(widths=()).validate(), "model.widths is empty"),
        (lambda: DetectSet(score=1.0), "score is from 0 to below 1"),
        (lambda: DetectSet(most=0), "most at least 1"),
    ],
)
def test_what_cannot_be_of_a_set_is_one_line(make, message):
    with pytest.raises(BadInput, match=message):
        make()
