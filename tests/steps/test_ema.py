"""The running average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.steps.transforms import ema
from step_helpers import assert_close, assert_same_bits, loss, make_batch, start

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


@pytest.mark.parametrize("decay", [0.25, 0.9999])
def test_the_average_is_its_closed_form(decay):
    """After n updates: sum_i (1 - d_i) d_(i + 1) ... d_(n - 1) p_(i + 1), and what is left of the weight on p_0."""
    states, _ = run(ema(step, decay), 6, ema=True)
    assert_same_bits(states[0].ema["params"], states[0].params)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(6)]
    for n, state in enumerate(states):
        weights = [float(np.prod(decays[:n]))] + [(1 - decays[i]) * np.prod(decays[i + 1 : n]) for i in range(n)]
        assert sum(weights) == pytest.approx(1)
        for name, average in state.ema["params"].items():
            history = [np.asarray(past.params[name], np.float64) for past in states[: n + 1]]
            assert_close(average, sum(weight * past for weight, past in zip(weights, history, strict=True)))


def test_a_short_run_with_a_long_average_forgets_where_it_began():
    """The share of the first parameters in the average of 300 updates at decay 0.9999: 2e-17, and not 97 %."""
    flat = steps.update(
        lambda params, variables, batch, key: (params, {"loss": steps.Mean(0.0, 1.0)}, {}), optax.sgd(0)
    )
    state = steps.new_state({"w": jnp.zeros(())}, optax.sgd(0), jax.random.key(0), ema=True)
    state = state.replace(ema={"params": {"w": jnp.ones(())}})
    averaged = jax.jit(lambda state: ema(flat, 0.9999)(state, None)[0])
    for _ in range(300):
        state = averaged(state)
    assert 0 <= float(state.ema["params"]["w"]) < 1e-12


def test_the_decay_depends_on_the_step_of_the_state_alone():
    states, _ = run(ema(step, 0.9), 4, ema=True)
    again, compiled = states[2], jax.jit(ema(step, 0.9))
    for seed in (2, 3):
        again, _ = compiled(again, make_batch(seed, [1, 0.5, 0]))
    assert_same_bits(again, states[4])


def test_an_average_keeps_its_dtype():
    state = start(optax.sgd(0.1), ema=True)
    half = state.replace(ema=jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.ema))
    after, _ = ema(step, 0.9)(half, make_batch(0, [1]))
    assert {x.dtype for x in jax.tree.leaves(after.ema)} == {jnp.dtype(jnp.bfloat16)}


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
    for mean, expected in ((2.0, 2.2), (1.0, 2.2 * 2 / 11 + 9 / 11)):
        state, _ = averaged(state, make_batch(0, [1]))
        assert float(state.variables["batch_stats"]["mean"]) == mean
        assert float(state.ema["batch_stats"]["mean"]) == pytest.approx(expected)
        assert int(state.ema["batch_stats"]["count"]) == 7
    seen = []

    def looking(params, variables, batch, key, *, train):
        seen.append(variables)
        return loss(params, {}, batch, key, train=train)

    steps.evaluate(looking)(state, make_batch(0, [1]))
    assert_same_bits(seen[0]["batch_stats"], state.ema["batch_stats"])


def test_the_average_of_what_no_update_changes_keeps_its_bits():
    """0.9 x + 0.1 x is not x: the frozen base of an adapter would drift by its rounding."""
    frozen = {"base": jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)}
    state = start(optax.sgd(0.1), ema=True, variables=frozen)
    compiled = jax.jit(ema(step, 0.9))
    for seed in range(3):
        state, _ = compiled(state, make_batch(seed, [1, 0.5, 0]))
    assert_same_bits(state.ema["base"], frozen["base"])
