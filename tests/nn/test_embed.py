import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.nn import embed
from jaxlm.nn.embed import Embed, lookup


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), vocab=st.sampled_from([1, 5, 17]))
def test_the_one_hot_gradient_equals_the_scatter(seed, vocab):
    keys = jax.random.split(jax.random.key(seed), 3)
    table = jax.random.normal(keys[0], (vocab, 6))
    tokens = jax.random.randint(keys[1], (2, 9), 0, vocab)
    weight = jax.random.normal(keys[2], (2, 9, 6))
    one_hot = jax.grad(lambda table: (lookup(table, tokens) * weight).sum())(table)
    scatter = jax.grad(lambda table: (table[tokens] * weight).sum())(table)
    np.testing.assert_allclose(one_hot, scatter, atol=1e-5)
    assert jnp.array_equal(lookup(table, tokens), table[tokens])


def test_forward_mode_and_second_derivatives_pass_through_the_lookup():
    table, tokens = jax.random.normal(jax.random.key(0), (5, 3)), jnp.array([[0, 4, 4]])

    def loss(table):
        return (lookup(table, tokens) ** 3).sum()

    dot = jnp.ones_like(table)
    _, product = jax.jvp(jax.grad(loss), (table,), (dot,))
    expected = jnp.zeros_like(table).at[tokens[0]].add(6 * table[tokens[0]])
    np.testing.assert_allclose(product, expected, rtol=1e-5)


def test_the_formula_is_chosen_by_the_size_of_the_table():
    def primitives(rows):
        graph = jax.make_jaxpr(jax.grad(lambda table: lookup(table, jnp.zeros((1, 2), jnp.int32)).sum()))
        return str(graph(jnp.zeros((rows, 2))))

    assert "scatter" not in primitives(embed.ONE_HOT_ROWS)
    assert "scatter" in primitives(embed.ONE_HOT_ROWS + 1)


def test_tokens_outside_of_the_table_give_nan():
    for rows in (5, embed.ONE_HOT_ROWS + 1):
        tokens = jnp.array([[0, rows, -1, -rows, rows - 1]])
        inside = np.array([[True, False, False, False, True]])
        np.testing.assert_array_equal(jnp.isfinite(lookup(jnp.ones((rows, 2)), tokens)).all(-1), inside)
        slope = jax.grad(lambda table, tokens=tokens: lookup(table, tokens).sum())(jnp.ones((rows, 2)))
        np.testing.assert_array_equal(slope.sum(0), [2, 2])


def test_the_tied_read_out_is_the_product_with_the_table():
    table = jax.random.normal(jax.random.key(0), (5, 3))
    x = jax.random.normal(jax.random.key(1), (2, 4, 3))
    logits = Embed(5, 3).apply({"params": {"embedding": table}}, x, method="attend")
    np.testing.assert_allclose(logits, x @ table.T, rtol=1e-5)
