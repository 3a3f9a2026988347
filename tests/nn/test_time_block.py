"""The block over time never sees its padding, and its convolution is XLA's."""

import jax
import numpy as np

from jaxlm.nn.speech import TimeConv, within
from jaxlm.nn.time_block import TimeBlock

WIDTH = 8


def moved(tree):
    """Parameters none of which is zero."""
    leaves, shape = jax.tree.flatten(tree)
    draw = np.random.default_rng(0)
    return jax.tree.unflatten(shape, [x + 0.3 * draw.normal(size=x.shape).astype(np.float32) for x in leaves])


def block():
    draw = np.random.default_rng(1)
    x, condition = draw.normal(size=(3, 9, WIDTH)).astype(np.float32), draw.normal(size=(3, 4)).astype(np.float32)
    layer = TimeBlock(hidden=12, kernel=5)
    return layer, moved(layer.init(jax.random.key(0), x, np.ones((3, 9), bool), condition)), x, condition


def test_a_depthwise_convolution_is_xlas_grouped_one():
    draw = np.random.default_rng(2)
    x, layer = draw.normal(size=(2, 11, WIDTH)).astype(np.float32), TimeConv(5)
    variables = moved(layer.init(jax.random.key(0), x))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    expected = jax.lax.conv_general_dilated(
        x,
        kernel[:, None, :],
        (1,),
        ((2, 2),),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=WIDTH,
    )
    np.testing.assert_allclose(layer.apply(variables, x), np.asarray(expected) + np.asarray(bias), rtol=1e-5, atol=1e-5)


def test_padding_and_other_rows_change_nothing():
    layer, variables, x, condition = block()
    lengths = np.int32([9, 4, 1])
    apply = jax.jit(layer.apply)
    found = apply(variables, x, within(lengths, 9), condition)
    other = x + 7.0 * ~np.asarray(within(lengths, 9))[..., None]
    wider = np.pad(other, ((0, 0), (0, 6), (0, 0)), constant_values=3.0)
    padded = apply(variables, wider, within(lengths, 15), condition)
    for row, length in enumerate(lengths):
        alone = apply(variables, x[row : row + 1], within(lengths[row : row + 1], 9), condition[row : row + 1])
        for one in (padded[row], alone[0]):
            np.testing.assert_allclose(one[:length], found[row, :length], rtol=1e-5, atol=1e-5)


def test_what_a_block_is_conditioned_on_does_nothing_at_first_and_something_later():
    layer, variables, x, condition = block()
    inside = np.ones((3, 9), bool)
    fresh = layer.init(jax.random.key(0), x, inside, condition)
    np.testing.assert_array_equal(layer.apply(fresh, x, inside, condition), layer.apply(fresh, x, inside, -condition))
    differ = layer.apply(variables, x, inside, condition) - layer.apply(variables, x, inside, -condition)
    assert np.abs(differ).max() > 1e-2
