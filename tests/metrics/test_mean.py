"""A mean is a monoid: however the examples are split, the same number comes out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.steps import Mean, Perplexity, compute, merge

# Sums of small multiples of 1/8 are exact in float64, so the laws can be asserted with ==.
exact = st.builds(Mean, st.integers(-999, 999).map(lambda n: n / 8), st.integers(0, 999).map(lambda n: n / 8))
numbers = st.floats(-1e6, 1e6)
weights = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


def named(*means):
    return [{"loss": mean, "accuracy": Mean(2 * mean.total, mean.weight)} for mean in means]


@given(exact, exact, exact)
def test_merging_is_associative(a, b, c):
    a, b, c = named(a, b, c)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b, c)


@given(exact)
def test_nothing_counted_is_the_identity_of_merging(a):
    (a,), (nothing,) = named(a), named(Mean(0.0, 0.0))
    assert merge(a, nothing) == merge(nothing, a) == merge(a) == a


@given(st.lists(exact, min_size=1, max_size=6), st.randoms())
def test_the_order_of_merging_does_not_matter(means, random):
    shuffled = random.sample(means, len(means))
    assert merge(*named(*means)) == merge(*named(*shuffled))


@given(st.lists(st.tuples(numbers, weights), min_size=1, max_size=20), st.lists(st.integers(0, 20), max_size=4))
def test_any_split_gives_numpys_weighted_mean(pairs, cuts):
    values, weight = np.array(pairs).T
    parts = np.split(np.arange(len(pairs)), sorted(cuts))
    whole = merge(*({"loss": Mean((values[i] * weight[i]).sum(), weight[i].sum())} for i in parts))
    if weight.sum() == 0:
        assert math.isnan(whole["loss"].compute())
    else:
        expected = np.average(values, weights=weight)
        assert whole["loss"].compute() == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_mean_of_means_would_be_another_number():
    parts = [Mean(8.0, 8.0), Mean(3.0, 1.0)]
    assert merge(*({"loss": part} for part in parts))["loss"].compute() == 11 / 9
    assert np.mean([part.compute() for part in parts]) == 2.0


@pytest.mark.parametrize("number", [float, np.float32, jnp.float32, jnp.int32])
def test_nothing_counted_is_not_a_number_and_no_warning(number):
    assert math.isnan(Mean(number(0), number(0)).compute())
    assert math.isnan(Mean(number(3), number(0)).compute())


def test_division_happens_in_float64_on_the_host():
    result = Mean(jnp.float32(1), jnp.float32(3)).compute()
    assert type(result) is float
    assert result == 1 / 3


def test_integer_weights_stay_exact_beyond_what_float32_can_count():
    large = Mean(jnp.float32(1), jnp.int32(2**24))
    assert merge({"n": large}, {"n": Mean(jnp.float32(1), jnp.int32(1))})["n"].weight == 2**24 + 1


def test_merging_and_summing_are_the_same_under_jit_and_as_a_tree():
    parts = named(Mean(jnp.float32(1), jnp.float32(2)), Mean(jnp.float32(3), jnp.float32(4)))
    assert jax.jit(merge)(*parts) == merge(*parts) == jax.tree.map(jnp.add, *parts)


def test_merging_does_not_change_its_arguments():
    a, b = {"loss": Mean(np.ones(()), np.ones(()))}, {"loss": Mean(np.ones(()), np.ones(()))}
    merge(a, b)
    assert a == b == {"loss": Mean(1.0, 1.0)}


def test_merging_different_metrics_is_an_error():
    with pytest.raises(ValueError, match="names differ"):
        merge({"loss": Mean(1.0, 1.0)}, {"accuracy": Mean(1.0, 1.0)})


def test_compute_divides_every_metric_and_prefixes_its_name():
    metrics = {"loss": Mean(6.0, 4.0), "accuracy": Mean(1.0, 4.0)}
    assert compute(metrics) == {"loss": 1.5, "accuracy": 0.25}
    assert compute(metrics, prefix="eval/") == {"eval/loss": 1.5, "eval/accuracy": 0.25}


@given(st.lists(st.tuples(st.floats(0, 50), weights), min_size=1, max_size=9))
def test_a_perplexity_is_the_exponential_of_the_mean_and_not_a_mean_of_exponentials(pairs):
    values, weight = np.array(pairs).T
    whole = merge(*({"perplexity": Perplexity(v * w, w)} for v, w in pairs))["perplexity"].compute()
    if weight.sum() == 0:
        assert math.isnan(whole)
    else:
        assert whole == pytest.approx(math.exp(np.average(values, weights=weight)), rel=1e-9)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert Perplexity(1e4, 1.0).compute() == math.inf
