"""All of the algebra at once, compiled and donated: the state that comes out is of the type that went in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.optim import AdamW, Group
from jaxlm.steps import transforms
from step_helpers import loss, make_batch, parameters, start, types

SPEC = AdamW(peak_lr=1e-2, warmup=2, weight_decay=0.1, clip_norm=1.0, groups=(Group("."),))
OPTIMIZERS = {"spec": lambda: SPEC(10), "adam": lambda: optax.adam(1e-2), "sgd": lambda: optax.sgd(1e-2)}


def compose(tx, parts=2, times=2):
    train_loss = transforms.cast(loss, jnp.bfloat16)
    grad = steps.accumulate(steps.grad(train_loss), parts)
    step = transforms.ema(transforms.skip_nonfinite(steps.update(grad, tx)), 0.9)
    return transforms.repeat(step, times)


def batches(seed):
    return tuple(make_batch(seed + i, [1, 0, 0.5, 1]) for i in range(2))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_keeps_the_structure_the_shapes_and_the_dtypes_of_its_state(optimizer):
    tx = OPTIMIZERS[optimizer]()
    state = jax.jit(lambda: start(tx, ema=True))()
    out, _ = jax.eval_shape(compose(tx), state, batches(0))
    assert out == jax.eval_shape(lambda: state)


def test_a_donated_state_is_compiled_for_once_and_then_reused():
    traces = []
    tx = SPEC(10)
    composed = compose(tx)

    def counted(state, batch):
        traces.append(None)
        return composed(state, batch)

    step = jax.jit(counted, donate_argnums=0)
    state = jax.jit(lambda: start(tx, ema=True))()
    before = types(state)
    for turn in range(3):
        old = state
        state, metrics = step(state, batches(turn))
        assert np.isfinite(metrics["loss"].compute())
        assert types(state) == before
        assert old.params["hidden"].is_deleted()
    assert len(traces) == 1
    assert state.step == 6


def test_a_state_begun_outside_of_jit_can_be_donated_too():
    tx = SPEC(10)
    step = jax.jit(compose(tx), donate_argnums=0)
    state, _ = step(start(tx, ema=True), batches(0))
    state, _ = step(state, batches(2))
    assert state.step == 4


def test_runs_can_be_stacked_because_a_state_holds_nothing_but_arrays():
    tx = optax.sgd(0.1)
    step = steps.update(steps.grad(loss), tx)
    seeds = jnp.arange(3)
    begin = lambda seed: steps.new_state(parameters(), tx, jax.random.key(seed))  # noqa: E731
    stacked, metrics = jax.jit(jax.vmap(step, in_axes=(0, None)))(jax.vmap(begin)(seeds), make_batch(0, [1, 1]))
    assert stacked.step.tolist() == [1, 1, 1]
    assert metrics["loss"].total.shape == (3,)
    assert len({tuple(bits) for bits in jax.random.key_data(stacked.key).tolist()}) == 3
