"""Scores are sums: the same bits however the examples are dealt out, and the names of their records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored import draw, metrics_of

from jaxlm import steps
from jaxlm.metrics import Calibration, Confusion
from jaxlm.parallel import local, mesh, pmap
from jaxlm.steps import Mean, compute
from jaxlm.train.evaluate import measure
from jaxlm.train.meter import Meter
from step_helpers import assert_same_bits


def evaluate(state, batch):
    return metrics_of(batch)


EVALUATE = jax.jit(evaluate)


def whole_numbers(metrics):
    """The counts of metrics, as int64."""
    confusion, calibration, top_2 = (metrics[name] for name in ("confusion", "calibration", "top_2"))
    return jax.tree.map(np.int64, (confusion.counts, calibration.counts, calibration.correct, top_2))


def batches_of(batch, size):
    """In order; the last one filled up with examples of label 0 and mask 0."""
    fill = -len(batch["mask"]) % size
    filled = {name: np.pad(x, [(0, fill)] + [(0, 0)] * (x.ndim - 1)) for name, x in batch.items()}
    for start in range(0, len(filled["mask"]), size):
        yield {name: x[start : start + size] for name, x in filled.items()}


# The same bits however the examples are dealt out.


@settings(max_examples=8)
@given(st.integers(0, 999), st.integers(65, 130))
def test_counts_do_not_depend_on_the_batch_size(seed, size):
    batch = draw(seed, size)
    whole = measure(EVALUATE, None, batches_of(batch, 130))
    for batch_size in (1, 7, 64):
        sums = measure(EVALUATE, None, batches_of(batch, batch_size))
        assert_same_bits(whole_numbers(sums), whole_numbers(whole))
        assert compute(sums) == pytest.approx(compute(whole), rel=1e-5)


PLACES = {"local": local, "mesh1": lambda: mesh(1), "mesh2": lambda: mesh(2), "mesh4": lambda: mesh(4)}
PLACES |= {"fsdp": lambda: mesh(2, fsdp=2), "pmap": pmap}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(3))
def test_counts_do_not_depend_on_the_devices(place, seed):
    batch, place = draw(seed, 62), PLACES[place]()
    whole = metrics_of(jax.tree.map(jnp.asarray, batch))
    program = place.compile(place.reduce_metrics(evaluate), donate=False)
    sums = measure(program, jnp.zeros(()), map(place.put, batches_of(batch, 16)))
    assert_same_bits(whole_numbers(sums), whole_numbers(whole))
    assert compute(sums) == pytest.approx(compute(whole), rel=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_counts_do_not_depend_on_the_micro_batches(parts):
    def loss(params, variables, batch, key, *, train):
        logits = batch["logits"] * params
        return metrics_of(batch | {"logits": logits}) | {"loss": Mean(logits.sum(), batch["mask"].sum())}, variables

    batch = jax.tree.map(jnp.asarray, draw(0, 24))
    grad, arguments = steps.grad(loss), (jnp.float32(1), {}, batch, jax.random.key(0))
    _, whole, _ = jax.jit(grad)(*arguments)
    _, sums, _ = jax.jit(steps.accumulate(grad, parts))(*arguments)
    assert_same_bits(whole_numbers(sums), whole_numbers(whole))
    assert (sums["confusion"].counts.dtype, sums["top_2"].weight.dtype) == (jnp.int32, jnp.int32)


def test_counts_on_the_host_are_exact_beyond_what_float32_and_int32_can_count():
    large = 2**31 - 1
    assert int(np.float32(large)) != large
    one = {"loss": Mean(jnp.float32(1), jnp.int32(large)), "confusion": Confusion(jnp.full((2, 2), large, jnp.int32))}
    sums = measure(lambda state, batch: one, None, iter(range(5)))
    assert sums["loss"].weight == 5 * large
    assert sums["confusion"].counts.dtype == np.int64
    assert sums["confusion"].counts.tolist() == [[5 * large] * 2] * 2
    assert sums["confusion"].compute()["accuracy"] == 0.5


def test_host_sums_of_low_precision_are_float64():
    batches = (jnp.full(3, x, jnp.bfloat16) for x in (1, 2**-9))
    sums = measure(lambda state, x: {"loss": Mean(x[0], x.sum()), "bins": Calibration(x, x, x)}, None, batches)
    assert sums["loss"].total == 1 + 2**-9
    assert sums["bins"].counts.tolist() == [1 + 2**-9] * 3


# Names.


def test_a_record_holds_the_names_of_a_metric_of_several_numbers():
    records = []
    meter = Meter(lambda at, sums, times: records.append(compute(sums, "train/") | times), interval=2)
    for completed in (1, 2):
        meter.add(completed, metrics_of(jax.tree.map(jnp.asarray, draw(completed, 8))))
    meter.flush()
    names = {name.removeprefix("train/") for name in records[0] if name.startswith("train/")}
    scores = {"accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "mcc"}
    assert names == {"loss", "top_2", "calibration_error"} | scores


def test_two_metrics_of_one_name_are_an_error():
    metrics = {"accuracy": Mean(1.0, 2.0), "confusion": Confusion(np.eye(2))}
    with pytest.raises(ValueError, match="two metrics are called eval/accuracy"):
        compute(metrics, "eval/")
