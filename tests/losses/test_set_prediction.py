"""Matches by SciPy, the loss by hand, and sums that depend on no order, filling, division of a batch or devices."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linear_sum_assignment

from jaxlm import parallel, steps
from jaxlm.errors import BadInput
from jaxlm.losses import SetPrediction
from jaxlm.losses.set_prediction import box_giou, match, match_costs
from jaxlm.models.detr import BoxSet
from jaxlm.nn.linear import Dense
from jaxlm.steps import compute

DRAW = np.random.default_rng(0)
SPEC = SetPrediction(absent=0.2, distance=3.0, overlap=1.5)
SIZE, QUERIES = (24, 32), 5


class Says(nn.Module):
    """As little of a detector as there can be: what it says is affine in the mean colour."""

    @nn.compact
    def __call__(self, image_BHWC, *, train=False):
        colour_BC, (high, across) = image_BHWC.mean((1, 2)), image_BHWC.shape[1:3]
        logits_BQK = Dense(QUERIES * 4, name="classes")(colour_BC).reshape(1, -1, QUERIES, 4)
        boxes_BQ4 = nn.sigmoid(Dense(QUERIES * 4, name="boxes")(colour_BC)).reshape(1, -1, QUERIES, 4)
        return BoxSet(logits_BQK, boxes_BQ4, jnp.float32([across, high]))


MODEL = Says()


def batch_of(rows=4, most=4):
    """Boxes of each row in its first places, none in the last row."""
    corner, size = DRAW.uniform(0, 20, (rows, most, 2)), DRAW.uniform(2, 12, (rows, most, 2))
    there = np.arange(most) < np.array([most, 1, most - 1, 0])[:rows, None]
    return {
        "image": DRAW.normal(size=(rows, *SIZE, 3)).astype(np.float32),
        "boxes": (np.concatenate([corner, corner + size], -1) * there[..., None]).astype(np.float32),
        "classes": np.where(there, DRAW.integers(0, 3, (rows, most)), -1).astype(np.int32),
    }


BATCH = batch_of()


def said(rows, layers=2):
    """What a detector might say."""
    logits, boxes = DRAW.normal(size=(layers, rows, QUERIES, 4)), DRAW.uniform(0.1, 0.6, (layers, rows, QUERIES, 4))
    return BoxSet(jnp.float32(logits), jnp.float32(boxes), jnp.float32(SIZE[::-1]))


def saying(found):
    return SimpleNamespace(apply=lambda variables, image, train, rngs: found)


@jax.jit
def evaluated(found, batch):
    return SPEC(saying(found))({}, {}, batch, jax.random.key(0), train=False)[0]


@pytest.mark.parametrize(("boxes", "queries"), [(1, 4), (5, 5), (6, 9)])
def test_a_match_costs_as_little_as_scipys(boxes, queries):
    """With boxes that are not there at random places of a row, as many as none or all of them."""
    costs = DRAW.normal(size=(2, 12, boxes, queries)).astype(np.float32)
    there = DRAW.random((12, boxes)) < np.linspace(0, 1, 12)[:, None]
    found = np.asarray(jax.jit(match)(costs, there))
    for layer in range(2):
        for row in range(12):
            assert len(set(found[layer, row])) == boxes
            real = costs[layer, row][there[row]]
            best = real[linear_sum_assignment(real)].sum()
            assert real[np.arange(len(real)), found[layer, row][there[row]]].sum() == pytest.approx(best, abs=1e-5)


def test_a_match_of_what_is_not_finite_comes_to_an_end():
    costs = np.full((1, 1, 3, 4), np.nan, np.float32)
    costs[..., 0] = np.inf
    assert len(set(np.asarray(jax.jit(match)(costs, np.ones((1, 3), bool)))[0, 0])) == 3


def test_generalised_iou_is_that_of_areas_by_hand():
    """Apart, touching at a corner, one inside the other, and equal; centre x, centre y, width and height."""
    one = np.float32([[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 4, 4], [3, 1, 2, 1]])
    other = np.float32([[5, 1, 2, 2], [3, 3, 2, 2], [2, 2, 2, 2], [3, 1, 2, 1]])
    np.testing.assert_allclose(box_giou(one, other), [-4 / 12, -8 / 16, 4 / 16, 1], rtol=1e-5)
    np.testing.assert_allclose(box_giou(one, other), box_giou(other, one))


def test_the_loss_is_that_of_a_computation_by_hand():
    batch, found = batch_of(), said(4)
    batch |= {"mask": np.float32([1, 1, 0, 1]), "crowd": np.zeros((4, 4), bool)}
    batch["crowd"][0, 1] = True
    logits, boxes = np.asarray(found.logits_LBQK, np.float64), np.asarray(found.boxes_LBQ4, np.float64)
    totals, count = np.zeros(3), 0
    for row in (0, 1, 3):
        there = (batch["classes"][row] >= 0) & ~batch["crowd"][row]
        labels, corners = batch["classes"][row][there], batch["boxes"][row][there] / np.float64([32, 24, 32, 24])
        truth = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
        count += max(len(truth), 1)
        for layer in range(2):
            shares = np.exp(logits[layer, row]) / np.exp(logits[layer, row]).sum(-1, keepdims=True)
            away = np.abs(truth[:, None] - boxes[layer, row]).sum(-1)
            apart = 1 - np.asarray(box_giou(truth[:, None], boxes[layer, row][None]))
            box, query = linear_sum_assignment(3.0 * away + 1.5 * apart - shares[:, labels].T)
            wanted = np.full(QUERIES, 3)
            wanted[query] = labels[box]
            nats = -np.log(shares[np.arange(QUERIES), wanted]) * np.where(wanted == 3, 0.2, 1)
            totals += [nats.sum() / 2, 3.0 * away[box, query].sum() / 2, 1.5 * apart[box, query].sum() / 2]
    results = compute(evaluated(found, batch))
    for name, total in zip(("class_loss", "distance_loss", "overlap_loss"), totals, strict=True):
        assert results[name] == pytest.approx(total / count, rel=1e-4)
    assert results["loss"] == pytest.approx(totals.sum() / count, rel=1e-4)


def test_neither_the_order_of_boxes_nor_the_room_for_more_matters():
    batch, found = batch_of(), said(4)
    plain = compute(evaluated(found, batch))
    order = np.array([2, 0, 3, 1])
    turned = batch | {name: batch[name][:, order] for name in ("boxes", "classes")}
    room = [(0, 0), (1, 0)]
    wider = {"boxes": np.pad(batch["boxes"], [*room, (0, 0)], constant_values=7.0)}
    wider["classes"] = np.pad(batch["classes"], room, constant_values=-1)
    for other in (turned, batch | wider):
        assert compute(evaluated(found, other)) == pytest.approx(plain, rel=1e-5)


def test_a_detector_that_is_right_has_no_loss_of_boxes():
    batch = batch_of()
    truth = batch["boxes"] / np.float32([32, 24, 32, 24])
    boxes = np.full((1, 4, QUERIES, 4), 0.5, np.float32)
    boxes[0, :, :4] = np.concatenate([(truth[..., :2] + truth[..., 2:]) / 2, truth[..., 2:] - truth[..., :2]], -1)
    logits = 20 * jax.nn.one_hot(np.pad(batch["classes"], [(0, 0), (0, 1)], constant_values=-1) % 4, 4)[None]
    found = compute(evaluated(BoxSet(logits, jnp.asarray(boxes), jnp.float32([32, 24])), batch))
    assert found["loss"] == pytest.approx(0, abs=1e-4)


def after_a_step(place, parts=1):
    tx = optax.sgd(0.1)
    grad = steps.accumulate(steps.grad(SPEC(MODEL)), parts)
    state = place.init(lambda key: steps.init(MODEL, tx, BATCH["image"][:1], key), jax.random.key(0))
    state, metrics = place.compile(steps.update(place.reduce(grad), tx))(state, place.put(BATCH))
    return place.fetch(state).params, compute(metrics)["loss"]


def test_an_update_does_not_depend_on_devices_or_micro_batches():
    alone, loss = after_a_step(parallel.local())
    for place, parts in ((parallel.pmap(), 1), (parallel.mesh(2, 2), 1), (parallel.local(), 2)):
        other, same = after_a_step(place, parts)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), alone, other)
        assert same == pytest.approx(loss, rel=1e-5)


def test_an_image_without_a_box_counts_as_one():
    batch, found = batch_of(), said(4)
    bare = batch | {"classes": np.full_like(batch["classes"], -1)}
    loss = evaluated(found, bare)["loss"]
    assert float(loss.weight) == 4
    assert float(loss.total) > 0
    alone = evaluated(found, bare | {"mask": np.float32([1, 0, 0, 1])})["loss"]
    assert float(alone.weight) == 2
    some = evaluated(found, batch | {"classes": np.where(np.arange(4)[:, None] == 2, -1, batch["classes"])})["loss"]
    assert float(some.weight) == np.maximum((batch["classes"][[0, 1, 3]] >= 0).sum(1), 1).sum() + 1


def test_more_boxes_than_queries_are_refused():
    batch = batch_of(4, QUERIES + 1)
    with pytest.raises(BadInput, match="rows have room for 6 boxes and the model has 5 queries"):
        evaluated(said(4), batch)


@pytest.mark.parametrize("field", [{"absent": -1.0}, {"distance": float("nan")}, {"overlap": float("inf")}])
def test_a_weight_that_cannot_be_is_one_line(field):
    with pytest.raises(BadInput, match=r"^loss\.\w+ is [^\n]+$"):
        SetPrediction(**field)


def test_a_cost_is_of_class_distance_and_overlap():
    found, truth = said(1, 1), np.float32([[[0.4, 0.4, 0.2, 0.2]]])
    cost = match_costs(found.logits_LBQK, found.boxes_LBQ4, np.int32([[2]]), truth, SPEC)[0, 0, 0]
    share = jax.nn.softmax(found.logits_LBQK)[0, 0, :, 2]
    away = np.abs(np.asarray(found.boxes_LBQ4[0, 0]) - truth[0]).sum(-1)
    apart = 1 - box_giou(found.boxes_LBQ4[0, 0], truth[0])
    np.testing.assert_allclose(cost, 3.0 * away + 1.5 * apart - share, rtol=1e-5)
