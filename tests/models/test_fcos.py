"""What is said of an image is its own; places lie where their features come from; every weight has a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.fcos import FCOS

MODEL = FCOS(classes=2, widths=(4, 4, 8, 8), width=4, depth=1)


@pytest.mark.parametrize("size", [(64, 64), (40, 72), (33, 50)])
def test_an_image_is_answered_alone_at_every_place_of_three_levels(size):
    images = np.random.default_rng(0).normal(size=(3, *size, 3)).astype(np.float32)
    variables = jax.jit(MODEL.init)(jax.random.key(0), images)
    apply = jax.jit(lambda images: MODEL.apply(variables, images))
    found = apply(images)
    expected = []
    for stride in (8, 16, 32):
        high, wide = (-(-side // stride) for side in size)
        expected += [((x + 0.5) * stride, (y + 0.5) * stride, stride) for y in range(high) for x in range(wide)]
    np.testing.assert_allclose(np.concatenate([found.at_P2, found.strides_P[:, None]], 1), expected)
    assert found.logits_BPK.shape == (3, len(expected), 2)
    assert found.distances_BP4.shape == (3, len(expected), 4)
    assert (found.distances_BP4 > 0).all()
    assert np.asarray(jax.nn.sigmoid(found.logits_BPK)).mean() == pytest.approx(0.01, rel=0.5)
    for name in ("logits_BPK", "distances_BP4", "centre_BP"):
        np.testing.assert_allclose(getattr(apply(images[1:2]), name)[0], getattr(found, name)[1], rtol=1e-3, atol=1e-4)


def test_every_weight_has_a_gradient():
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    params = jax.jit(MODEL.init)(jax.random.key(0), images)["params"]
    params = jax.tree.map(lambda x: x + 0.1, params)

    def total(params):
        found = MODEL.apply({"params": params}, images)
        return sum(jnp.square(part).sum() for part in found[:3])

    gradient = jax.jit(jax.grad(total))(params)
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(gradient))


def test_the_number_of_stages_is_checked():
    with pytest.raises(BadInput, match="model.widths is .*: give four, for strides 4, 8, 16 and 32"):
        MODEL.clone(widths=(4, 8)).validate()
