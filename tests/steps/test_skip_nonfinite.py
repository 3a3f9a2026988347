"""A step that is not finite leaves no trace but its count; too many in a row freeze the state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.steps import Mean
from jaxlm.steps.transforms import ema, repeat, skip_nonfinite
from step_helpers import assert_same_bits, loss, make_batch, start

LIMIT = 3
TX = optax.adam(1e-2)


def poisoned_grad(params, variables, batch, key):
    """The gradient of the loss with batch["poison"] added to one entry, and a variable that counts calls."""
    grads, metrics, _ = steps.grad(loss)(params, variables, batch, key)
    grads["hidden"] = grads["hidden"].at[1, 2].add(batch["poison"])
    return grads, metrics, {"calls": variables["calls"] + 1}


plain_step = steps.update(poisoned_grad, TX)
step = jax.jit(skip_nonfinite(plain_step, LIMIT))


def begin(**options):
    return start(TX, variables={"calls": jnp.int32(0)}, **options)


def good(seed=0):
    return make_batch(seed, [1, 0.5, 0, 1]) | {"poison": np.float32(0)}


def bad(how="nan", value=np.nan):
    batch = good()
    if how == "gradient":
        batch["poison"] = np.float32(value)
    else:
        batch["y"] = np.array([0, value, 0, 0], np.float32)
    return batch


def run(batches, state=None):
    """The state after each batch, the first one included, and the metrics of each."""
    states, all_metrics = [begin() if state is None else state], []
    for batch in batches:
        state, metrics = step(states[-1], batch)
        states.append(state)
        all_metrics.append(metrics)
    return states, all_metrics


def test_on_finite_steps_it_is_the_identity():
    guarded = plain = begin()
    compiled = jax.jit(plain_step)
    for seed in range(4):
        guarded, metrics = step(guarded, good(seed))
        plain, expected = compiled(plain, good(seed))
        assert_same_bits(guarded, plain)
        assert metrics.pop("skipped").compute() == metrics.pop("halted").compute() == 0
        assert_same_bits(metrics, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counts(how, value):
    (_, before, after), (_, metrics) = run([good(), bad(how, value)])
    assert before.variables["calls"] == 1  # there is something to lose
    assert (after.step, after.skipped) == (2, 1)
    assert_same_bits(after.replace(step=before.step, skipped=before.skipped), before)
    assert metrics.pop("skipped") == Mean(1.0, 1.0)
    assert metrics.pop("halted") == Mean(0.0, 1.0)
    assert set(metrics) == {"loss", "grad_norm"}
    assert all(mean == Mean(0.0, 0.0) for mean in metrics.values())


@pytest.mark.parametrize("decayed", [optax.adamw(0.1, weight_decay=0.5), optax.sgd(0.1, momentum=0.9)])
def test_a_batch_that_is_masked_altogether_is_skipped_with_weight_decay_and_momentum(decayed):
    guarded = jax.jit(skip_nonfinite(ema(steps.update(steps.grad(loss), decayed), 0.9), LIMIT))
    before, _ = guarded(start(decayed, ema=True), good())
    after, metrics = guarded(before, make_batch(1, [0, 0, 0, 0]) | {"poison": np.float32(0)})
    assert_same_bits(after.replace(step=before.step, skipped=before.skipped), before)
    assert (after.step, after.skipped) == (2, 1)
    assert metrics.pop("skipped") == Mean(1.0, 1.0)
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))


def test_without_the_guard_such_a_step_ruins_the_parameters():
    after, _ = plain_step(begin(), bad("gradient"))
    assert np.isnan(after.params["hidden"]).any()


def test_a_skipped_step_has_no_weight_in_merged_metrics():
    _, all_metrics = run([good(1), bad(), good(2)])
    merged = steps.compute(steps.merge(*all_metrics))
    _, alone = run([good(1), good(2)])
    # The second good batch meets the same parameters, because the skipped one left them as they were.
    assert merged["loss"] == pytest.approx(steps.merge(*alone)["loss"].compute(), rel=1e-6)
    assert merged["skipped"] == pytest.approx(1 / 3)


def test_an_update_in_between_resets_the_count():
    states, all_metrics = run([bad(), bad(), good(), bad(), bad(), good()])
    assert [int(state.skipped) for state in states] == [0, 1, 2, 0, 1, 2, 0]
    assert all(metrics["halted"].compute() == 0 for metrics in all_metrics)
    assert states[-1].variables["calls"] == 2


def test_as_many_in_a_row_as_the_limit_freeze_the_state_for_good():
    states, all_metrics = run([good()] + [bad()] * LIMIT + [good()] * 3)
    assert [metrics["halted"].compute() for metrics in all_metrics] == [0, 0, 0, 1, 1, 1, 1]
    assert [metrics["skipped"].compute() for metrics in all_metrics] == [0] + [1] * (LIMIT + 3)
    assert [int(state.step) for state in states] == list(range(len(states)))
    for frozen in states[2:]:
        assert_same_bits(frozen.replace(step=states[1].step, skipped=states[1].skipped), states[1])
    assert all_metrics[-1]["loss"] == Mean(0.0, 0.0)


def test_any_metric_that_is_not_finite_counts_and_dtypes_are_kept():
    def with_extra(state, batch):
        state, metrics = plain_step(state, batch)
        return state, metrics | {"extra": Mean(batch["extra"], jnp.int32(3))}

    guarded = skip_nonfinite(with_extra)
    for extra, weight in ((1.0, 3), (np.inf, 0)):
        after, metrics = guarded(begin(), good() | {"extra": np.float32(extra)})
        assert metrics["extra"].weight == weight
        assert metrics["extra"].weight.dtype == jnp.int32
        assert after.skipped == (weight == 0)


def test_a_skipped_step_moves_an_average_kept_inside_of_it_not_at_all():
    guarded = jax.jit(skip_nonfinite(ema(plain_step, 0.5), LIMIT))
    before, _ = guarded(begin(ema=True), good())
    after, _ = guarded(before, bad())
    assert_same_bits(after.ema, before.ema)


def test_steps_skipped_within_one_program_are_counted_and_halt_it():
    repeated = jax.jit(repeat(skip_nonfinite(plain_step, LIMIT), 5))
    state, metrics = repeated(begin(), (good(), *[bad()] * LIMIT, good()))
    assert metrics["skipped"] == Mean(4.0, 5.0)
    assert metrics["halted"] == Mean(2.0, 5.0)
    assert state.variables["calls"] == 1
