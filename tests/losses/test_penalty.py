"""A penalty is added once, whatever the micro-batches and devices, and has the gradient of the optimizer's."""

import jax
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import classification, penalise
from jaxlm.models.mlp import MLP
from jaxlm.optim import SGD
from jaxlm.parallel import local, mesh, pmap

MODEL = MLP(classes=3, hidden=(5,))


def setting():
    random = np.random.default_rng(0)
    batch = {"image": random.normal(size=(8, 2, 2, 1)).astype(np.float32), "label": np.arange(8) % 3}
    return MODEL.init(jax.random.key(0), batch["image"])["params"], batch


def stepped(loss, tx, parts=1, place=None):
    params, batch = setting()
    place = place or local()
    step = steps.update(place.reduce(steps.accumulate(steps.grad(loss), parts)), tx)
    state = place.init(lambda key: steps.new_state(params, tx, key), jax.random.key(0))
    state, metrics = place.compile(step)(state, place.put(batch))
    return place.fetch(state.params), steps.compute(place.fetch(metrics))


def assert_same(tree, other):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), tree, other)


def test_the_value_is_the_plain_sum_over_kernels():
    params, _ = setting()
    kernels = np.concatenate([np.ravel(params[name]["kernel"]) for name in params]).astype(np.float64)
    _, plain = stepped(classification(MODEL), optax.sgd(0.1))
    _, metrics = stepped(penalise(classification(MODEL), l1=0.3, l2=0.7), optax.sgd(0.1))
    expected = 0.3 * np.abs(kernels).sum() + 0.35 * np.square(kernels).sum()
    assert metrics["penalty"] == pytest.approx(expected, rel=1e-6)
    assert metrics["loss"] == pytest.approx(plain["loss"] + expected, rel=1e-6)


@pytest.mark.parametrize(("parts", "place"), [(2, local), (4, local), (1, mesh), (1, pmap), (2, pmap)])
def test_micro_batches_and_devices_add_it_once(parts, place):
    loss = penalise(classification(MODEL), l1=0.01, l2=0.1)
    params, metrics = stepped(loss, optax.sgd(0.1), parts, place())
    expected, expected_metrics = stepped(loss, optax.sgd(0.1))
    assert_same(params, expected)
    assert metrics == pytest.approx(expected_metrics, rel=1e-5)


def test_its_step_is_that_of_the_penalties_of_the_optimizer():
    options = {"peak_lr": 0.1, "schedule": "constant"}
    ours, _ = stepped(penalise(classification(MODEL), l1=0.02, l2=0.3), SGD(**options)(1))
    theirs, _ = stepped(classification(MODEL), SGD(**options, l1=0.02, l2=0.3)(1))
    assert_same(ours, theirs)


def test_an_evaluation_has_none_and_a_pattern_must_find_something():
    params, batch = setting()
    loss, plain = penalise(classification(MODEL), l2=1.0), classification(MODEL)
    found, expected = (one(params, {}, batch, jax.random.key(0), train=False)[0] for one in (loss, plain))
    assert steps.compute(found) == steps.compute(expected)
    with pytest.raises(ValueError, match="no parameter has a path"):
        penalise(plain, l2=1.0, pattern="nothing")(params, {}, batch, jax.random.key(0), train=True)
