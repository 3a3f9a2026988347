"""The network of private learning is the convolutions that it says, by XLA's own convolution and pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.tanh_cnn import TanhCNN


def by_convolution(params, image):
    """Convolutions of 8 x 8 (padded by 3) and 4 x 4, both of stride 2, and sliding maxima."""

    def layer(x, name, kernel, padding):
        weights = params[name]["kernel"].reshape(kernel, kernel, x.shape[-1], -1)
        margins = [(padding, padding)] * 2
        y = jax.lax.conv_general_dilated(x, weights, (2, 2), margins, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return nn.max_pool(jnp.tanh(y + params[name]["bias"][None, None, None]), (2, 2), (1, 1))

    x = layer(layer(image, "conv_1", 8, 3), "conv_2", 4, 0)
    x = x.reshape(len(image), -1)
    for name, activation in (("hidden", jnp.tanh), ("head", lambda y: y)):
        x = activation(x @ params[name]["kernel"] + params[name]["bias"][None])
    return x


@pytest.mark.parametrize("size", [28, 15])
def test_patches_and_products_are_convolutions(size):
    image = np.random.default_rng(0).normal(size=(3, size, size, 1)).astype(np.float32)
    model = TanhCNN(classes=10)
    params = model.init(jax.random.key(0), image)["params"]
    np.testing.assert_allclose(model.apply({"params": params}, image), by_convolution(params, image), atol=1e-5)
    if size == 28:
        assert sum(x.size for x in jax.tree.leaves(params)) == 26_010


def test_images_too_small_are_refused():
    with pytest.raises(BadInput, match="images of 13 x 13 are too small"):
        TanhCNN(classes=10).init(jax.random.key(0), jnp.zeros((1, 13, 13, 1)))
    TanhCNN(classes=10).init(jax.random.key(0), jnp.zeros((1, 14, 14, 1)))  # the smallest
