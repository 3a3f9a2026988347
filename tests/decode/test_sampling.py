import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from jaxlm.decode.sampling import keep_top_k, keep_top_p, sample_tokens

VOCAB = 9
seeds = st.integers(0, 10_000)


def draw_logits(seed):
    return 2 * np.random.default_rng(seed).normal(size=(3, VOCAB)).astype(np.float32)


def kept(logits):
    return [set(np.flatnonzero(row)) for row in np.isfinite(np.asarray(logits))]


@settings(max_examples=30, deadline=None)
@given(seed=seeds, top_k=st.integers(1, VOCAB + 2))
def test_top_k_keeps_the_largest_k(seed, top_k):
    logits = draw_logits(seed)
    expected = [set(np.argsort(-row)[:top_k]) for row in logits]
    assert kept(keep_top_k(jnp.asarray(logits), top_k)) == expected


@settings(max_examples=50, deadline=None)
@given(seed=seeds, top_p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_the_mass(seed, top_p):
    logits = draw_logits(seed)
    for row, chosen in zip(logits, kept(keep_top_p(jnp.asarray(logits), top_p)), strict=True):
        order = np.argsort(-row)
        mass = np.cumsum(np.exp(row.astype(np.float64))[order])
        mass /= mass[-1]
        if np.abs(mass - top_p).min() > 1e-5:
            assert chosen == set(order[: np.searchsorted(mass, top_p) + 1])


def test_kept_logits_are_left_as_they_were():
    logits = jnp.asarray(draw_logits(0))
    for cut in (keep_top_k(logits, 4), keep_top_p(logits, 0.7)):
        assert jnp.array_equal(cut[jnp.isfinite(cut)], logits[jnp.isfinite(cut)])


def test_equal_logits_are_kept_together():
    logits = jnp.zeros((1, VOCAB))
    assert kept(keep_top_k(logits, 2)) == kept(keep_top_p(logits, 0.1)) == [set(range(VOCAB))]


@pytest.mark.parametrize("temperature", [0.0, 1e-42, 1e-30, 1e-3])
def test_a_vanishing_temperature_is_greedy(temperature):
    logits = jnp.asarray(draw_logits(1)) * 100
    chosen = sample_tokens(logits, jax.random.split(jax.random.key(0), 3), temperature=temperature)
    assert jnp.array_equal(chosen, logits.argmax(-1))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, 1.0), (0.5, None, 1.0), (1.0, 4, 1.0), (1.3, None, 0.8), (2.0, 5, 0.7)],
)
def test_frequencies_follow_the_cut_distribution(temperature, top_k, top_p):
    count, row = 4000, draw_logits(3)[0] / 2
    probability = np.exp(row.astype(np.float64) / temperature)
    order = np.argsort(-probability)
    probability[order[top_k or VOCAB :]] = 0
    before = np.cumsum(probability[order] / probability.sum()) - probability[order] / probability.sum()
    probability[order[before >= top_p]] = 0
    expected = count * probability / probability.sum()

    keys = jax.random.split(jax.random.key(5), count)
    logits = jnp.broadcast_to(jnp.asarray(row)[None], (count, VOCAB))
    drawn = sample_tokens(logits, keys, temperature=temperature, top_k=top_k, top_p=top_p)
    observed = np.bincount(drawn, minlength=VOCAB)
    possible = expected > 0
    assert not observed[~possible].any()
    assert chisquare(observed[possible], expected[possible]).pvalue > 1e-3


def test_temperature_and_top_p_are_traced():
    traces = []

    @jax.jit
    def draw(temperature, top_p):
        traces.append(None)
        keys = jax.random.split(jax.random.key(0), 3)
        return sample_tokens(jnp.asarray(draw_logits(0)), keys, temperature=temperature, top_p=top_p)

    for temperature, top_p in [(1.0, 1.0), (0.0, 0.5), (2.0, 0.9)]:
        draw(temperature, top_p)
    assert len(traces) == 1
