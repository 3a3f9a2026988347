"""Targets of places by loops, overlaps by corners, and sums that do not depend on how a batch is divided."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import Detection
from jaxlm.losses.detection import assign, centredness, generalised_iou
from jaxlm.models.fcos import FCOS, Places
from jaxlm.steps import compute, merge

DRAW = np.random.default_rng(0)
SPEC = Detection(reach=(12.0, 24.0))


def places_of(height, width):
    """x, y and stride of the places of three levels."""
    found = []
    for stride in (8, 16, 32):
        for y in range(-(-height // stride)):
            found += [((x + 0.5) * stride, (y + 0.5) * stride, stride) for x in range(-(-width // stride))]
    return np.array(found, np.float32)


def boxes_of(rows=3, most=5):
    corner, size = DRAW.uniform(0, 50, (rows, most, 2)), DRAW.uniform(4, 50, (rows, most, 2))
    boxes = np.concatenate([corner, np.minimum(corner + size, 64)], -1).astype(np.float32)
    return boxes, DRAW.integers(-1, 3, (rows, most)).astype(np.int32)


def test_places_are_assigned_as_by_loops_over_all_boxes():
    at, (boxes, classes) = places_of(64, 64), boxes_of()
    found = jax.device_get(jax.jit(lambda *x: assign(*x, SPEC))(at[:, :2], at[:, 2], boxes, classes))
    hits = 0
    for row in range(len(boxes)):
        for number, (x, y, stride) in enumerate(at):
            best = None
            for (left, top, right, bottom), label in zip(boxes[row], classes[row], strict=True):
                sides = np.array([x - left, y - top, right - x, bottom - y])
                low, high = {8: (0, 12), 16: (12, 24), 32: (24, np.inf)}[int(stride)]
                near = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) <= 1.5 * stride
                if label >= 0 and sides.min() > 0 and low < sides.max() <= high and near:
                    area = (right - left) * (bottom - top)
                    if best is None or area < best[0]:
                        best = area, label, sides
            assert found.classes_BP[row, number] == (-1 if best is None else best[1])
            if best is not None:
                hits += 1
                np.testing.assert_allclose(found.distances_BP4[row, number], best[2], rtol=1e-5)
                a, b, c, d = best[2]
                central = np.sqrt(min(a, c) / max(a, c) * min(b, d) / max(b, d))
                assert found.centre_BP[row, number] == pytest.approx(central, rel=1e-5)
    assert hits > 10


def test_generalised_iou_is_that_of_the_corners():
    one, other = DRAW.uniform(0.5, 9, (2, 40, 1, 4)).astype(np.float32)
    found = np.asarray(generalised_iou(jnp.asarray(one), jnp.asarray(other)))[:, 0]
    for number in range(40):
        (a, b, c, d), (e, f, g, h) = one[number, 0], other[number, 0]
        shared = (min(c, g) + min(a, e)) * (min(d, h) + min(b, f))
        union = (a + c) * (b + d) + (e + g) * (f + h) - shared
        around = (max(c, g) + max(a, e)) * (max(d, h) + max(b, f))
        assert found[number] == pytest.approx(shared / union - (around - union) / around, rel=1e-4)
    np.testing.assert_allclose(generalised_iou(jnp.asarray(one), jnp.asarray(one)), 1, atol=1e-6)
    np.testing.assert_allclose(centredness(jnp.ones((1, 2, 4))), 1)


def test_the_loss_is_that_of_a_computation_by_hand():
    at, (boxes, classes) = places_of(64, 64), boxes_of()
    logits, sizes = DRAW.normal(size=(3, len(at), 3)), DRAW.uniform(2, 30, (3, len(at), 4))
    centre = DRAW.normal(size=(3, len(at)))
    said = Places(*(jnp.asarray(x, jnp.float32) for x in (logits, sizes, centre, at[:, :2], at[:, 2])))
    batch = {"image": np.zeros((3, 64, 64, 3)), "boxes": boxes, "classes": classes, "mask": np.float32([1, 1, 0])}
    batch["crowd"] = np.zeros(classes.shape, bool)
    batch["crowd"][0, 0] = True
    model = SimpleNamespace(widths=(4, 4, 4, 4), apply=lambda variables, image, train, rngs: said)
    metrics, _ = SPEC(model)({}, {}, batch, jax.random.key(0), train=True)
    targets = assign(at[:, :2], at[:, 2], boxes, np.where(batch["crowd"], -1, classes), SPEC)
    there = np.asarray(targets.classes_BP)[:2] >= 0
    p, hot = 1 / (1 + np.exp(-logits[:2])), np.asarray(targets.classes_BP)[:2, :, None] == np.arange(3)
    share = np.where(hot, p, 1 - p)
    of_classes = (np.where(hot, 0.25, 0.75) * (1 - share) ** 2 * -np.log(share)).sum()
    of_boxes = (1 - np.asarray(generalised_iou(said.distances_BP4, targets.distances_BP4))[:2])[there].sum()
    of_centre = np.asarray(optax.sigmoid_binary_cross_entropy(said.centre_BP, targets.centre_BP))[:2][there].sum()
    found, count = compute(metrics), there.sum()
    assert found["class_loss"] == pytest.approx(of_classes / count, rel=1e-4)
    assert found["box_loss"] == pytest.approx(of_boxes / count, rel=1e-4)
    assert found["centre_loss"] == pytest.approx(of_centre / count, rel=1e-4)
    assert found["loss"] == pytest.approx((of_classes + of_boxes + of_centre) / count, rel=1e-4)


@pytest.mark.parametrize("bare", [(), (1, 3), (2, 3), (0, 1, 2, 3)], ids=["boxes", "some", "one part", "all"])
def test_gradients_of_parts_of_a_batch_sum_to_that_of_the_whole(bare):
    model, (boxes, classes) = FCOS(classes=3, widths=(4, 4, 4, 4), width=4, depth=1), boxes_of(4)
    classes[list(bare)] = -1
    batch = {"image": DRAW.normal(size=(4, 64, 64, 3)).astype(np.float32), "boxes": boxes, "classes": classes}
    params = jax.jit(model.init)(jax.random.key(0), batch["image"][:1])["params"]
    grad = jax.jit(steps.grad(SPEC(model)))
    whole, metrics, _ = grad(params, {}, batch, jax.random.key(0))
    parts = [grad(params, {}, {k: x[i : i + 2] for k, x in batch.items()}, jax.random.key(0)) for i in (0, 2)]
    total = jax.tree.map(jnp.add, *(part for part, _, _ in parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), total, whole)
    assert compute(merge(*(m for _, m, _ in parts)))["loss"] == pytest.approx(compute(metrics)["loss"], rel=1e-5)
    assert compute(metrics)["loss"] > 0  # background has a loss, and so a weight, without which its update is skipped
    assert max(np.abs(x).max() for x in jax.tree.leaves(whole)) > 0


@pytest.mark.parametrize("field", [{"reach": (3.0, 1.0)}, {"radius": -1.0}, {"alpha": 1.0}, {"boxes": float("nan")}])
def test_what_cannot_be_is_one_line(field):
    with pytest.raises(BadInput, match=r"^loss(\.alpha)? is [^\n]+$"):
        Detection(**field)


@pytest.mark.parametrize("reach", [(64.0,), (64.0, 128.0, 256.0)])
def test_every_level_has_its_reach(reach):
    with pytest.raises(BadInput, match="a model of 3 levels needs 2 numbers"):
        Detection(reach=reach)(FCOS(classes=3, widths=(4, 4, 4, 4), width=4, depth=1))
