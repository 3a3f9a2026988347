import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from jaxlm.nn import conv
from jaxlm.nn.conv import Conv, convolve, max_pool, mean_pool, unfold_and_multiply


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def reference(x, kernel, stride=1, padding=((0, 0), (0, 0)), groups=1):
    """One plane at a time, in double precision."""
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    inside, outside = kernel.shape[2], kernel.shape[3] // groups
    planes = [
        sum(correlate2d(image[..., o // outside * inside + i], kernel[..., i, o], "valid") for i in range(inside))
        for image in x
        for o in range(kernel.shape[3])
    ]
    y = np.stack(planes).reshape(len(x), kernel.shape[3], *planes[0].shape)
    return y.transpose(0, 2, 3, 1)[:, ::stride, ::stride]


def plain(x, kernel, stride=1, padding=((0, 0), (0, 0)), groups=1):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout, feature_group_count=groups
    )


def assert_close(x, expected):
    assert x.shape == expected.shape
    assert np.abs(x - expected).max() <= 1e-5 * np.abs(expected).max()


SAME = ((1, 1), (1, 1))
CASES = {
    "3x3": ((5, 6, 6, 4), (3, 3, 4, 3), 1, SAME, 1),
    "3x3, stride 2, odd": ((5, 7, 5, 4), (3, 3, 4, 3), 2, SAME, 1),
    "3x3, stride 2, even": ((5, 6, 8, 2), (3, 3, 2, 3), 2, SAME, 1),
    "no padding": ((3, 7, 7, 2), (3, 3, 2, 3), 1, ((0, 0), (0, 0)), 1),
    "1x7, uneven padding": ((3, 6, 9, 2), (1, 7, 2, 3), 1, ((0, 0), (3, 2)), 1),
    "1x1": ((5, 6, 7, 4), (1, 1, 4, 3), 1, ((0, 0), (0, 0)), 1),
    "1x1, stride 2, odd": ((5, 7, 5, 4), (1, 1, 4, 3), 2, ((0, 0), (0, 0)), 1),
    "1x1, padded": ((2, 4, 5, 3), (1, 1, 3, 2), 1, SAME, 1),
    "two groups": ((3, 6, 7, 4), (3, 3, 2, 6), 2, SAME, 2),
    "1x1, four groups": ((3, 5, 5, 4), (1, 1, 1, 8), 1, ((0, 0), (0, 0)), 4),
    "one image": ((1, 5, 5, 2), (3, 3, 2, 2), 1, SAME, 1),
}


@pytest.mark.parametrize("images", [1, 2, 100], ids=["parts of one", "parts of two", "one part"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_value_and_gradients_equal_the_plain_convolution(monkeypatch, case, images):
    shape, kernel_shape, *options = case
    monkeypatch.setattr(conv, "PART", images * int(np.prod(shape[1:])))
    x, kernel = draw(0, shape, kernel_shape)
    value, back = jax.vjp(lambda x, kernel: convolve(x, kernel, *options), x, kernel)
    assert_close(value, reference(x, kernel, *options))
    (slope,) = draw(1, value.shape)
    expected = jax.vjp(lambda x, kernel: plain(x, kernel, *options), x, kernel)[1](slope)
    for gradient, other in zip(back(slope), expected, strict=True):
        assert_close(gradient, other)


@pytest.mark.parametrize("name", ["3x3", "no padding", "1x7, uneven padding", "1x1, padded", "one image"])
def test_a_product_of_patches_equals_the_plain_convolution(name):
    shape, kernel_shape, stride, padding, _ = CASES[name]
    x, kernel = draw(0, shape, kernel_shape)
    assert stride == 1
    value, back = jax.vjp(lambda x, kernel: unfold_and_multiply(x, kernel, padding), x, kernel)
    assert_close(value, reference(x, kernel, 1, padding))
    (slope,) = draw(1, value.shape)
    expected = jax.vjp(lambda x, kernel: plain(x, kernel, 1, padding), x, kernel)[1](slope)
    for gradient, other in zip(back(slope), expected, strict=True):
        assert_close(gradient, other)


def test_the_weight_gradient_is_summed_over_equal_parts_of_the_batch(monkeypatch):
    x, kernel = draw(0, (6, 6, 6, 4), (3, 3, 4, 3))

    def convolutions(images):
        monkeypatch.setattr(conv, "PART", int(images * x[0].size))
        program = jax.make_jaxpr(jax.grad(lambda kernel: convolve(x, kernel, 1, SAME).sum()))(kernel)
        return str(program).count("conv_general_dilated[")

    one = convolutions(6)
    assert [convolutions(images) - one + 1 for images in (0.5, 1.2, 2, 3, 4, 99)] == [6, 3, 3, 2, 1, 1]


@pytest.mark.parametrize("case", ["3x3, stride 2, odd", "1x1", "two groups"])
def test_the_formula_of_other_backends_is_the_same_function(monkeypatch, case):
    shape, kernel_shape, *options = CASES[case]
    x, kernel = draw(0, shape, kernel_shape)
    here = jax.grad(lambda kernel: jnp.square(convolve(x, kernel, *options)).sum())(kernel)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert_close(jax.grad(lambda kernel: jnp.square(convolve(x, kernel, *options)).sum())(kernel), here)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((7, 7), 2), ((1, 7), 1), ((1, 1), 2)])
def test_the_layer_pads_as_torch_does(kernel, stride):
    torch = pytest.importorskip("torch")
    (x,) = draw(0, (2, 8, 9, 3))
    layer = Conv(4, kernel, stride, bias=True)
    weights, bias = draw(1, (*kernel, 3, 4), (4,))
    ours = layer.apply({"params": {"kernel": weights, "bias": bias}}, x)
    planes, weights, bias = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(weights), torch.tensor(bias)
    half = tuple(size // 2 for size in kernel)
    theirs = torch.nn.functional.conv2d(planes, weights.permute(3, 2, 0, 1), bias, stride, half)
    assert_close(ours, theirs.permute(0, 2, 3, 1).numpy())


def test_the_kernel_starts_with_the_variance_of_he_and_the_bias_at_zero():
    params = Conv(64, bias=True).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    assert params["kernel"].shape == (3, 3, 32, 64)
    np.testing.assert_allclose(params["kernel"].std(), (2 / (9 * 64)) ** 0.5, rtol=0.02)
    assert not params["bias"].any()


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_half_precision_stays_half_precision(kernel):
    x = jnp.asarray(draw(0, (2, 5, 5, 4))[0], jnp.bfloat16)
    layer = Conv(4, kernel, bias=True)
    variables = layer.init(jax.random.key(0), x)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), variables)
    assert layer.apply(half, x).dtype == jnp.bfloat16
    assert layer.apply(variables, x).dtype == jnp.float32
    gradient = jax.grad(lambda variables: layer.apply(variables, x).astype(jnp.float32).sum())(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}


def test_max_pool_never_takes_the_padding():
    x = -1 - jnp.arange(25.0).reshape(1, 5, 5, 1)
    pooled = max_pool(x, 3, 2, padding=1)
    assert jnp.array_equal(pooled[0, :, :, 0], -1 - jnp.array([[0.0, 1, 3], [5, 6, 8], [15, 16, 18]]))


def test_mean_pool_sums_half_precision_in_float32():
    x = jnp.ones((2, 64, 64, 3), jnp.bfloat16)  # 4096 ones, of which bfloat16 could add 256
    assert jnp.array_equal(mean_pool(x), jnp.ones((2, 3), jnp.bfloat16))


@pytest.mark.parametrize("shape", [(2, 6, 6, 2), (3, 28, 28, 2), (4, 14, 14, 4), (2, 7, 5, 3)])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_side_by_side_is_that_of_sliding_windows_with_its_gradient(shape, size):
    (x,) = draw(0, shape)
    value, back = jax.vjp(jax.jit(lambda x: max_pool(x, size, size)), x)
    expected, other = jax.vjp(jax.jit(lambda x: nn.max_pool(x, (size, size), (size, size))), x)
    np.testing.assert_array_equal(value, expected)
    (slope,) = draw(1, value.shape)
    np.testing.assert_allclose(back(slope)[0], other(slope)[0], atol=1e-6)
