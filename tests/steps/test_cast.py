"""Mixed precision: another dtype inside of the loss, float32 everywhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.losses import next_token
from jaxlm.steps.transforms import cast
from step_helpers import assert_close, assert_same_bits, loss, make_batch, parameters, start

KEY = jax.random.key(0)


def recorder():
    """A loss, and the dtypes that it was called with."""
    seen = {}

    def recording(params, variables, batch, key, *, train):
        seen.update({name: x.dtype for name, x in (params | batch).items()}, train=train)
        return loss(params, variables, batch, key, train=train)

    return recording, seen


def test_a_cast_to_the_dtype_that_is_there_is_the_identity():
    batch, args = make_batch(0, [1, 0.5, 0]), (parameters(), {"count": jnp.int32(1)})
    cast_loss = cast(loss, jnp.float32, inputs=("x",))
    run = lambda loss: jax.jit(steps.grad(loss))(*args, batch, KEY)  # noqa: E731
    assert_same_bits(run(cast_loss), run(loss))


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, jnp.float16])
def test_gradients_and_parameters_stay_float32(dtype):
    recording, seen = recorder()
    step = steps.update(steps.grad(cast(recording, dtype)), optax.adam(1e-2))
    state = start(optax.adam(1e-2))
    after, _ = step(state, make_batch(0, [1, 0.5]))
    grads, _, _ = steps.grad(cast(recording, dtype))(state.params, {}, make_batch(0, [1, 0.5]), KEY)
    assert seen["hidden"] == seen["out"] == jnp.dtype(dtype)
    dtypes = jax.tree.map(lambda x: x.dtype, (after.params, after.opt_state, grads))
    assert dtypes == jax.tree.map(lambda x: x.dtype, (state.params, state.opt_state, state.params))


def test_the_gradient_in_bfloat16_is_near_the_one_in_float32_and_not_equal():
    args = (parameters(), {}, make_batch(0, [1] * 8), KEY)
    half, _, _ = steps.grad(cast(loss, jnp.bfloat16, inputs=("x",)))(*args)
    full, _, _ = steps.grad(loss)(*args)
    assert_close(half, full, 0.1)
    assert (np.asarray(half["out"]) != np.asarray(full["out"])).all()


def test_only_the_named_inputs_are_cast_and_only_where_they_are_floating_point():
    recording, seen = recorder()
    batch = make_batch(0, [1, 1]) | {"index": np.array([0, 1])}
    cast(recording, jnp.bfloat16, inputs=("x", "index"))(parameters(), {}, batch, KEY, train=False)
    assert seen["x"] == jnp.bfloat16
    assert seen["y"] == seen["mask"] == jnp.float32
    assert jnp.issubdtype(seen["index"], jnp.integer)
    assert seen["train"] is False
    assert batch["x"].dtype == np.float32  # the caller's batch is left alone


def test_integer_parameters_and_variables_are_left_alone():
    def checking(params, variables, batch, key, *, train):
        assert params["table"].dtype == jnp.int32
        assert variables["mean"].dtype == jnp.float32
        return loss(params, variables, batch, key, train=train)

    params = parameters() | {"table": jnp.arange(3, dtype=jnp.int32)}
    _, variables = cast(checking, jnp.bfloat16)(params, {"mean": jnp.ones(2)}, make_batch(0, [1]), KEY, train=True)
    assert variables["mean"].dtype == jnp.float32


@pytest.mark.parametrize("count", [257, 1000])
def test_more_targets_than_bfloat16_can_count_are_counted_exactly(count):
    """bfloat16 holds 8 bits: 256 + 1 is 256 there."""

    class Uniform:
        def apply(self, variables, tokens, **options):
            assert variables["params"]["scale"].dtype == jnp.bfloat16
            return jnp.zeros((*tokens.shape, 2), jnp.bfloat16) * variables["params"]["scale"]

    tokens = np.zeros((1, 1024), np.int32)
    mask = (np.arange(1024) < count).astype(np.float32)[None]
    batch = {"tokens": tokens, "targets": tokens, "mask": mask}
    metrics, _ = cast(next_token(Uniform()), jnp.bfloat16)({"scale": jnp.ones(())}, {}, batch, KEY, train=True)
    assert metrics["loss"].weight == metrics["accuracy"].total == count
    assert metrics["loss"].compute() == pytest.approx(np.log(2), rel=1e-6)
