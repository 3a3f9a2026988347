"""A foreign model must fit too: the README's example, run as it stands there, on every placement."""

import re
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlm import parallel

HERE = Path(__file__).parent
EXAMPLE = HERE / "use_one_piece_example.py"
PLACES = {"pmap": parallel.pmap(), "mesh": parallel.mesh(), "fsdp": parallel.mesh(fsdp=2)}


@cache
def example():
    names = {}
    exec(compile(EXAMPLE.read_text(), EXAMPLE, "exec"), names)
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


def test_the_readme_shows_this_very_example():
    readme = (HERE.parent / "README.md").read_text()
    section = re.search(r"^## Use one piece$(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    assert section, "README.md has no heading '## Use one piece'"
    block = re.search(r"^```python\n(.*?)^```$", section.group(1), re.MULTILINE | re.DOTALL)
    assert block, "there is no python block under that heading"
    assert block.group(1) == EXAMPLE.read_text()
