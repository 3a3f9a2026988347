"""The running average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from step_helpers import assert_close, assert_same_bits, loss, make_batch, start

from jaxlm import steps
from jaxlm.steps.transforms import ema

step = steps.update(steps.grad(loss), optax.sgd(0.1))


def run(step, updates, **options):
    states, all_metrics, compiled = [start(optax.sgd(0.1), **options)], [], jax.jit(step)
    for seed in range(updates):
        state, metrics = compiled(states[-1], make_batch(seed, [1, 0.5, 0]))
        states.append(state)
        all_metrics.append(metrics)
    return states, all_metrics


def test_without_decay_the_average_follows_the_parameters():
    states, _ = run(ema(step, 0), 3, ema=True)
    for state in states:
        assert_same_bits(state.ema, {"params": state.params, **state.variables})


def test_with_full_decay_the_average_stays_where_it_started():
    states, _ = run(ema(step, 1), 3, ema=True)
    assert_same_bits(states[-1].ema, states[0].ema)
    assert_same_bits(states[0].ema["params"], states[0].params)


@pytest.mark.parametrize("decay", [0.25, 0.9])
def test_the_average_is_its_closed_form(decay):
    """After n updates: decay^n p_0 + (1 - decay) sum_i decay^(n - i) p_i."""
    states, _ = run(ema(step, decay), 6, ema=True)
    for n, state in enumerate(states):
        for name, average in state.ema["params"].items():
            history = [np.asarray(past.params[name], np.float64) for past in states[: n + 1]]
            later = sum(decay ** (n - i) * history[i] for i in range(1, n + 1))
            assert_close(average, decay**n * history[0] + (1 - decay) * later)


def test_averaging_changes_nothing_else():
    averaged, averaged_metrics = run(ema(step, 0.9), 3, ema=True)
    plain, metrics = run(step, 3)
    assert_same_bits([state.replace(ema=None) for state in averaged], plain)
    assert_same_bits(averaged_metrics, metrics)


def test_a_state_without_an_average_is_refused():
    with pytest.raises(ValueError, match="ema=True"):
        ema(step, 0.9)(start(optax.sgd(0.1)), make_batch(0, [1]))


def test_the_average_does_not_share_memory_with_the_parameters():
    state = start(optax.sgd(0.1), ema=True)
    jax.tree.map(lambda x: x.delete(), state.params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.ema))


def test_batch_statistics_are_averaged_with_the_parameters_and_counts_are_the_latest():
    def counting(params, variables, batch, key, *, train):
        metrics, _ = loss(params, {}, batch, key, train=train)
        return metrics, {"batch_stats": {"mean": variables["batch_stats"]["mean"] * 0.5, "count": jnp.asarray(7)}}

    statistics = {"batch_stats": {"mean": jnp.asarray(4.0), "count": jnp.asarray(0)}}
    state = start(optax.sgd(0.1), ema=True).replace(variables=statistics)
    state = state.replace(ema={"params": state.params, **statistics})
    averaged = jax.jit(ema(steps.update(steps.grad(counting), optax.sgd(0.1)), 0.75))
    for expected in (3.5, 2.875):
        state, _ = averaged(state, make_batch(0, [1]))
        assert float(state.ema["batch_stats"]["mean"]) == expected
        assert int(state.ema["batch_stats"]["count"]) == 7
    seen = []

    def looking(params, variables, batch, key, *, train):
        seen.append(variables)
        return loss(params, {}, batch, key, train=train)

    steps.evaluate(looking)(state, make_batch(0, [1]))
    assert_same_bits(seen[0]["batch_stats"], state.ema["batch_stats"])
