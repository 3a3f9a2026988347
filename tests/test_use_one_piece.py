"""A foreign model must fit too: the example of README.md, as it is there, on every placement."""

from functools import cache

import jax
import numpy as np
import pytest

from documents import blocks
from jaxlm import parallel
from whole_path import ROOT

PLACES = {"pmap": parallel.pmap(), "mesh": parallel.mesh(), "fsdp": parallel.mesh(fsdp=2)}


@cache
def example():
    (text,) = (block.text for block in blocks(ROOT / "README.md") if "def train(place" in block.text)
    names = {}
    exec(compile(text, "README.md", "exec"), names)
    return names


def test_the_loss_falls():
    losses = example()["losses"]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("name", PLACES)
def test_every_placement_trains_the_same_model(name):
    params, losses = example()["train"](PLACES[name])
    np.testing.assert_allclose(losses, example()["losses"], rtol=1e-6, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, example()["trained"])
