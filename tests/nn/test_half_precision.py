"""Gradients in bfloat16 of every layer: what adds many rows adds them in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.attention import Attention, attend
from jaxlm.nn.conv import Conv
from jaxlm.nn.embed import ONE_HOT_ROWS, Embed
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.image_norm import ImageNorm
from jaxlm.nn.linear import Dense, broadcast, wide
from jaxlm.nn.module import Module
from jaxlm.nn.norm import LayerNorm, RMSNorm
from jaxlm.nn.position import LearnedPositions, RelativePositions
from jaxlm.nn.recurrent import LSTMLayer
from low_precision_sums import find_half_sums

# Of a sum that was added exactly, from terms that were rounded each. On a CPU jax 0.12 rounds partial sums of a product
# in bfloat16: 4 % were measured, and 0.4 % with jax 0.10. Which sums are ours, `find_half_sums` sees on both.
ROUNDING = 2**-7 if jax.__version_info__ < (0, 11) else 2**-4


class Attended(Module):
    """Attention to few tokens; its output alone."""

    def setup(self):
        self.attention = Attention(4, 2, depth=1)

    def __call__(self, x):
        return self.attention(x)[0]


class Placed(Module):
    """Positions added to every row of a batch."""

    def setup(self):
        self.positions = LearnedPositions(64, 16)

    def __call__(self, x):
        return x + broadcast(self.positions(None, x.shape[1]), x.shape)


class Biased(Module):
    """Attention with biases by distance, which all rows of a batch share."""

    def setup(self):
        self.positions = RelativePositions(8, 16, 20, bidirectional=True)

    def __call__(self, x):
        here, heads = jnp.arange(x.shape[1]), x.reshape(*x.shape[:2], 8, 2)
        return attend(heads, heads, heads, causal=False, bias_1NTS=self.positions(here, here)).reshape(x.shape)


def normal(*shape):
    return jax.random.normal(jax.random.key(1), shape)


TOKENS = jnp.arange(4096).reshape(64, 64) % 3
LAYERS = {
    "dense": (Dense(5), normal(64, 64, 16)),
    "convolution": (Conv(5, bias=True), normal(32, 8, 8, 3)),
    "convolution 1x1": (Conv(5, (1, 1), bias=True), normal(64, 8, 8, 3)),
    "layer norm": (LayerNorm(), normal(64, 64, 16)),
    "rms norm": (RMSNorm(), normal(64, 64, 16)),
    "batch norm": (ImageNorm("batch"), normal(64, 8, 8, 4)),
    "group norm": (ImageNorm("group"), normal(64, 8, 8, 4)),
    "small table": (Embed(5, 16), TOKENS),
    "large table": (Embed(ONE_HOT_ROWS + 1, 16), TOKENS),
    "positions": (Placed(), normal(1024, 4, 16)),
    "relative positions": (Biased(), normal(256, 8, 16)),
    "attention": (Attended(), normal(256, 8, 16)),
    "feed-forward": (FeedForward(32, depth=1), normal(64, 64, 16)),
    "lstm": (LSTMLayer(8), normal(64, 32, 4)),
}


def make(name):
    """Return a layer's gradient with weights of one sign on the outputs, so that sums grow, and its arguments."""
    layer, x = LAYERS[name]
    more = (jnp.ones(x.shape[:2], jnp.int32),) if name == "lstm" else ()

    def loss(params, x, variables):
        y = layer.apply({"params": params, **variables}, x, *more)
        return (y.astype(jnp.float32) * jax.random.uniform(jax.random.key(2), y.shape, minval=0.25)).sum()

    variables = dict(jax.jit(layer.init)(jax.random.key(0), x, *more))
    params = jax.tree.map(half, variables.pop("params"))
    return jax.grad(loss), params, x if x.dtype == jnp.int32 else half(x), variables


def half(x):
    return x.astype(jnp.bfloat16)


@pytest.mark.parametrize("name", LAYERS)
def test_sums_over_rows_are_those_of_float32(name):
    grad, params, x, variables = make(name)
    assert find_half_sums(grad, params, x, variables) == []
    grad = jax.jit(grad)
    full = grad(jax.tree.map(wide, params), wide(x) if x.dtype == jnp.bfloat16 else x, variables)

    def compare(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) < ROUNDING * np.linalg.norm(b)

    jax.tree.map(compare, grad(params, x, variables), full)
