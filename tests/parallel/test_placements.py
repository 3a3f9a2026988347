"""Where a step runs does not change what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parallel_helpers import MESHES, OPTIMIZERS, OTHERS, PLACES, begin, bits, compose, each, model, text, train

from jaxlm import steps
from jaxlm.losses import next_token
from jaxlm.steps import Mean, transforms

others = pytest.mark.parametrize("name", each(OTHERS))
everywhere = pytest.mark.parametrize("name", each(PLACES))


def assert_equal_runs(actual, expected, tolerance=1e-6):
    params, history = actual
    expected_params, expected_history = expected
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), params, expected_params)
    for metrics, expected_metrics in zip(history, expected_history, strict=True):
        assert metrics == pytest.approx(expected_metrics, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("optimizer", "parts"), [("sgd", 1), ("sgd", 4), ("adamw", 4)])
@others
def test_parameters_and_metrics_agree_after_five_steps_on_ragged_masks(name, optimizer, parts):
    assert_equal_runs(train(name, optimizer, parts), train("local", optimizer))
    _, history = train("local", optimizer)
    assert all(metrics["grad_norm"] > 0.1 for metrics in history)  # no gradient is compared with nothing


def test_four_micro_batches_agree_with_one_on_one_device():
    assert_equal_runs(train("local", "sgd", 4), train("local", "sgd"))


def test_the_masks_are_so_ragged_that_a_mean_of_means_would_differ():
    """So that the agreement above is known to be able to fail."""
    place, batch = PLACES["local"], text(0)
    state = place.init(begin(OPTIMIZERS["sgd"]), jax.random.key(0))
    evaluate = place.compile(steps.evaluate(next_token(model())), donate=False)
    quarters = [evaluate(state, jax.tree.map(lambda x: x[i::4], batch)) for i in range(4)]  # noqa: B023
    whole = evaluate(state, batch)["loss"].compute()
    assert steps.merge(*quarters)["loss"].compute() == pytest.approx(whole, rel=1e-6)
    assert abs(np.mean([quarter["loss"].compute() for quarter in quarters]) - whole) > 1e-3


@pytest.mark.parametrize("name", each(MESHES))
def test_dropout_draws_the_same_numbers_on_every_mesh_as_on_one_device(name):
    _, history = train(name, dropout=0.5, updates=3)
    _, expected = train("local", dropout=0.5, updates=3)
    _, without = train("local", updates=3)
    for metrics, expected_metrics, plain in zip(history, expected, without, strict=False):
        assert metrics["loss"] == pytest.approx(expected_metrics["loss"], rel=1e-6)
        assert abs(metrics["loss"] - plain["loss"]) > 1e-3


def test_under_pmap_each_device_draws_its_own_numbers():
    place = PLACES["pmap"]

    def drawing(params, variables, batch, key, *, train):
        draw = jax.random.uniform(key)
        return {"loss": Mean(params.sum() * 0, 1.0), "draw": Mean(draw, 1.0), "square": Mean(draw**2, 1.0)}, variables

    step = place.compile(steps.update(place.reduce(steps.grad(drawing)), OPTIMIZERS["sgd"]))
    state = place.init(lambda key: steps.new_state(jnp.ones(2), OPTIMIZERS["sgd"], key), jax.random.key(0))
    _, metrics = step(state, place.put({"x": np.ones(4)}))
    assert metrics["draw"].weight == 4
    variance = metrics["square"].compute() - metrics["draw"].compute() ** 2
    assert variance > 1e-3


@others
def test_the_state_is_initialised_with_the_same_bits_as_on_one_device(name):
    fn, key = begin(OPTIMIZERS["adamw"], ema=True), jax.random.key(3)
    state, expected = PLACES[name].init(fn, key), PLACES["local"].init(fn, key)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), state, expected)


@others
def test_evaluation_agrees(name):
    def evaluate(place):
        evaluate = place.compile(place.reduce_metrics(steps.evaluate(next_token(model(), range(16)))), donate=False)
        state = place.init(begin(OPTIMIZERS["sgd"], ema=True), jax.random.key(0))
        results = [evaluate(state, place.put(text(seed))) for seed in range(2)]
        assert state.step == 0  # not donated: the state is still there
        return results

    results, expected = evaluate(PLACES[name]), evaluate(PLACES["local"])
    for metrics, expected_metrics in zip(results, expected, strict=True):
        assert float(metrics["loss"].weight) == float(expected_metrics["loss"].weight)
    merged, expected_merged = (steps.compute(steps.merge(*parts)) for parts in (results, expected))
    assert set(merged) == {"loss", "accuracy", "perplexity", "bits_per_byte"}
    assert merged == pytest.approx(expected_merged, rel=1e-6)


@others
def test_the_whole_algebra_agrees_two_steps_to_a_program(name):
    def run(place):
        tx = OPTIMIZERS["sgd"]
        step = transforms.skip_nonfinite(compose(place, tx, parts=2))
        step = place.compile(transforms.repeat(transforms.ema(step, 0.5), 2))
        state = place.init(begin(tx, ema=True), jax.random.key(0))
        types = jax.tree.map(lambda x: (x.shape, x.dtype), state)
        poisoned = text(1) | {"mask": text(1)["mask"] * np.nan}
        state, metrics = step(state, tuple(map(place.put, (text(0), poisoned))))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == types
        assert (state.step, state.skipped) == (2, 1)
        return place.fetch((state.params, state.ema)), [steps.compute(metrics)]

    assert_equal_runs(run(PLACES[name]), run(PLACES["local"]))


@everywhere
def test_a_weight_may_be_a_plain_number(name):
    place, tx = PLACES[name], OPTIMIZERS["sgd"]

    def plain(params, variables, batch, key, *, train):
        return {"loss": Mean(((params - batch["x"]) ** 2).sum(), batch["x"].size)}, variables

    step = place.compile(steps.update(place.reduce(steps.grad(plain)), tx))
    state = place.init(lambda key: steps.new_state(jnp.ones(()), tx, key), jax.random.key(0))
    state, metrics = step(state, place.put({"x": np.arange(8, dtype=np.float32)}))
    assert metrics["loss"].compute() == np.mean((1 - np.arange(8)) ** 2)
    assert state.params == pytest.approx(1 - 0.5 * 2 * np.mean(1 - np.arange(8)))


@everywhere
def test_variables_keep_their_dtypes_whole_numbers_included(name):
    place, tx = PLACES[name], OPTIMIZERS["sgd"]

    def counting(params, variables, batch, key, *, train):
        variables = {"count": variables["count"] + 1, "mean": variables["mean"] * 0.5 + batch["x"].mean() * 0.5}
        return {"loss": Mean((params * batch["x"]).sum(), 1.0 * batch["x"].size)}, variables

    def start(key):
        variables = {"count": jnp.zeros((), jnp.int32), "mean": jnp.zeros(())}
        return steps.new_state(jnp.ones(()), tx, key, variables=variables)

    step = place.compile(steps.update(place.reduce(steps.grad(counting)), tx))
    state = place.init(start, jax.random.key(0))
    for _ in range(2):
        state, _ = step(state, place.put({"x": np.arange(8, dtype=np.float32)}))
    assert state.variables["count"] == 2
    assert state.variables["count"].dtype == jnp.int32
    assert state.variables["mean"] == pytest.approx(3.5 * 0.75)


@everywhere
@pytest.mark.parametrize("parts", [1, 2])
def test_variables_that_a_loss_does_not_change_keep_their_bits(name, parts):
    """A mean over devices would round them, and overflow where they are large."""
    place, tx = PLACES[name], OPTIMIZERS["sgd"]
    kept = {"large": np.float32([3e38, -1e38]), "zero": np.float32(-0.0), "half": np.full(3, 0.1, jnp.bfloat16)}

    def loss(params, variables, batch, key, *, train):
        seen = variables["seen"] + batch["x"].sum()
        return {"loss": Mean((params * batch["x"]).sum(), 1.0 * batch["x"].size)}, {**variables, "seen": seen}

    grad = steps.accumulate(steps.grad(loss), parts)
    step = place.compile(steps.update(place.reduce(grad), tx))
    variables = {"base": kept, "seen": jnp.zeros(())}
    state = place.init(lambda key: steps.new_state(jnp.ones(()), tx, key, variables=variables), jax.random.key(0))
    for _ in range(2):
        state, _ = step(state, place.put({"x": np.arange(8, dtype=np.float32)}))
    after = place.fetch(state.variables)
    assert after["seen"] > 0
    assert {leaf: x.tobytes() for leaf, x in after["base"].items()} == {leaf: x.tobytes() for leaf, x in kept.items()}


@everywhere
def test_fetching_gives_numpy_arrays_and_leaves_keys_alone(name):
    place = PLACES[name]
    tree = place.fetch(place.init(begin(OPTIMIZERS["sgd"]), jax.random.key(5)))
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(tree.params))
    assert jax.dtypes.issubdtype(tree.key.dtype, jax.dtypes.prng_key)
