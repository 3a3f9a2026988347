"""Batch normalisation under every placement: the statistics are those of the whole batch."""

import jax
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.losses import classification
from jaxlm.models.cnn import CNN
from jaxlm.models.resnet import ResNet
from jaxlm.optim import SGD
from jaxlm.parallel import local, mesh, pmap
from jaxlm.steps import transforms

MODELS = {
    "resnet": ResNet(classes=3, stages=(1, 1), width=8, stem="small", zero_residual=False),
    "cnn": CNN(classes=3, widths=(8,), hidden=8),
}
PLACES = {"pmap": pmap, "mesh 4": mesh, "mesh 2 x 2": lambda: mesh(2, 2)}


def batches():
    random = np.random.default_rng(0)
    for _ in range(5):
        labels = random.integers(0, 3, 16).astype(np.int32)
        images = random.normal(size=(16, 8, 8, 3)).astype(np.float32) + labels[:, None, None, None]
        yield {"image": images, "label": labels}


def trained(model, place, axis_name):
    """The state after five updates with an average, on the host, and the last metrics."""
    model = model.clone(axis_name=axis_name)
    tx = SGD(peak_lr=0.05, momentum=0.9)(5)
    step = transforms.ema(steps.update(place.reduce(steps.grad(classification(model))), tx), 0.9)
    state = place.init(lambda key: steps.init(model, tx, np.zeros((1, 8, 8, 3), np.float32), key, ema=True), key())
    program = place.compile(step)
    for batch in batches():
        state, metrics = program(state, place.put(batch))
    tree = {"params": state.params, "variables": state.variables, "ema": state.ema}
    return place.fetch(tree), steps.compute(place.fetch(metrics))


def key():
    return jax.random.key(0)


@pytest.fixture(scope="module")
def alone():
    return {name: trained(model, local(), None) for name, model in MODELS.items()}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("name", MODELS)
def test_five_updates_on_four_devices_equal_one_device(alone, name, place):
    (tree, metrics), (expected, expected_metrics) = trained(MODELS[name], place(), place().axis_name), alone[name]
    for leaf, other in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-5)
    assert metrics == pytest.approx(expected_metrics, abs=1e-5)


def test_without_the_name_of_the_axis_each_device_has_its_own_statistics(alone):
    tree, _ = trained(MODELS["cnn"], pmap(), None)
    expected = alone["cnn"][0]["variables"]["batch_stats"]["stage_0_norm_1"]["var"]
    assert np.abs(tree["variables"]["batch_stats"]["stage_0_norm_1"]["var"] - expected).max() > 1e-3
