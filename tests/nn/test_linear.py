"""Products with a kernel: the values of `@`, with gradients that are products of matrices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.conv import Conv
from jaxlm.nn.embed import Embed
from jaxlm.nn.linear import Dense, matmul


@pytest.mark.parametrize("axes", [(), (3,), (2, 3), (2, 3, 4)])
def test_matmul_has_the_values_and_gradients_of_the_operator(axes):
    one, two = jax.random.split(jax.random.key(0))
    x, kernel_IO = jax.random.normal(one, (*axes, 5)), jax.random.normal(two, (5, 7))

    def value_and_gradients(multiply):
        return jax.value_and_grad(lambda *args: jnp.sin(multiply(*args)).sum(), (0, 1))(x, kernel_IO)

    ours, theirs = value_and_gradients(matmul), value_and_gradients(jnp.matmul)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), ours, theirs)


@pytest.mark.parametrize(
    ("layer", "shape", "method"),
    [
        (Dense(4), (2, 3, 5), "__call__"),
        (Conv(4, (1, 1)), (2, 6, 6, 5), "__call__"),
        (Conv(4, (3, 3), patches=True), (2, 6, 6, 5), "__call__"),
        (Embed(9, 5), (2, 3, 5), "attend"),
        (Embed(9, 5), (2, 3), "__call__"),
    ],
)
def test_gradients_of_kernels_are_products_of_two_matrices(layer, shape, method):
    x = jnp.ones(shape, jnp.int32 if len(shape) == 2 else jnp.float32)
    variables = layer.init(jax.random.key(0), x, method=method)
    jaxpr = jax.make_jaxpr(jax.grad(lambda v: layer.apply(v, x, method=method).sum()))(variables)
    products = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
    assert products
    assert all(operand.aval.ndim == 2 for eqn in products for operand in eqn.invars)


@pytest.mark.parametrize(("layer", "dtype"), [(Dense(4), jnp.float32), (Embed(9, 5), jnp.int32)])
def test_sizes_may_be_left_open_and_be_differences(layer, dtype):
    variables = layer.init(jax.random.key(0), jnp.ones((2, 3, 5) if dtype == jnp.float32 else (2, 3), dtype))

    def apply(x):
        return layer.apply(variables, x[:, :-1])

    open_shape = jax.export.symbolic_shape("b, p, 5" if dtype == jnp.float32 else "b, p", constraints=("p >= 2",))
    program = jax.export.export(jax.jit(apply))(jax.ShapeDtypeStruct(open_shape, dtype))
    for rows, places in ((1, 2), (3, 7)):
        x = jax.random.randint(jax.random.key(1), (rows, places, 5)[: len(open_shape)], 0, 9).astype(dtype)
        np.testing.assert_array_equal(program.call(x), apply(x))
