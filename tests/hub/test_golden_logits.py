"""What transformers computed with these weights stands in tests/golden/transformers.json, so that no torch is needed.

The weights are sines of their places, which are the same on every machine. The slow test in tests/parity computes the
numbers anew; a new variant is written with

    JAXLM_WRITE_GOLDEN=1 python3 scripts/env.py --extras dev,parity pytest tests/parity/test_golden_logits.py -m slow
"""

import json

import jax
import numpy as np
import pytest

from golden_logits import GOLDEN, VARIANTS, inputs, leaves_of, real
from jaxlm.hub import pretrained


@pytest.mark.parametrize("name", VARIANTS)
def test_outputs_are_those_that_transformers_gave(name):
    model = VARIANTS[name]
    found = jax.tree.leaves(model.apply(pretrained.tree_from_leaves(leaves_of(model)), **inputs(model)))
    expected = json.loads(GOLDEN.read_text())[name]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(real(one, model), other, rtol=0, atol=1e-4 * np.abs(other).max())
