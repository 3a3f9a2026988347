"""What a loss is lent leaves no trace in the state, and the weights it is lent are those of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings

from jaxlm import steps
from jaxlm.steps import Mean
from jaxlm.steps.transforms import lend, weigh
from step_helpers import PLACES, assert_close, assert_same_bits, everywhere, loss, make_batch, masks, parameters, start

TX = optax.sgd(0.1)
MASK = [0.0, 1.0, 0.25, 3.0, 1.0, 0.0, 0.0, 1.0]


def after(name, grad, **options):
    """The state and the metrics after an update on one batch."""
    place = PLACES[name]
    state = place.init(lambda key: start(TX, **options), jax.random.key(0))
    return place.fetch(place.compile(steps.update(place.reduce(grad), TX))(state, place.put(make_batch(0, MASK))))


def other_net(batch):
    return parameters(1)


@everywhere
@pytest.mark.parametrize("parts", [1, 2])
def test_a_loss_that_does_not_read_it_is_as_it_was(name, parts):
    plain = steps.accumulate(steps.grad(loss), parts)
    lent = steps.accumulate(steps.grad(lend(loss, "other", other_net)), parts)
    around = lend(plain, "other", other_net)
    expected = after(name, plain, variables={"calls": jnp.int32(3)})
    for grad in (lent, around):
        assert_same_bits(after(name, grad, variables={"calls": jnp.int32(3)}), expected)


def test_it_is_given_and_dropped_and_other_variables_come_back():
    def reads(params, variables, batch, key, *, train):
        metrics, _ = loss(params, variables, batch, key, train=train)
        return metrics, {"calls": variables["calls"] + variables["lent"], "lent": variables["lent"]}

    lent = lend(reads, "lent", lambda batch: len(batch["x"]))
    _, variables = lent(parameters(), {"calls": 3}, make_batch(0, MASK), jax.random.key(0), train=True)
    assert variables == {"calls": 11}


def test_a_name_of_the_state_is_refused():
    with pytest.raises(ValueError, match="have a collection 'calls' already: lend under another name"):
        lend(loss, "calls", other_net)(parameters(), {"calls": 3}, make_batch(0, MASK), jax.random.key(0), train=True)


def reads_size(params, variables, batch, key, *, train):
    metrics, variables = loss(params, variables, batch, key, train=train)
    return metrics | {"size": Mean(variables["size"], 1)}, variables


def size(batch):
    return jnp.float32(len(batch["x"]))


def test_around_a_loss_it_is_made_of_each_micro_batch_and_around_a_gradient_of_the_whole():
    of_parts = steps.accumulate(steps.grad(lend(reads_size, "size", size)), 4)
    of_whole = lend(steps.accumulate(steps.grad(reads_size), 4), "size", size)
    for grad, expected in ((of_parts, 2), (of_whole, 8)):
        _, metrics, _ = grad(parameters(), {}, make_batch(0, MASK), jax.random.key(0))
        assert metrics["size"].compute() == expected


def test_what_is_lent_may_be_traced_and_is_not_trained():
    """As the nets of a GAN: the loss of one goes through the other, and the gradient is of the first alone."""

    def distance(params, variables, batch, key, *, train):
        own, other = (jnp.tanh(batch["x"] @ p["hidden"]) @ p["out"] for p in (params, variables["other"]))
        return {"loss": Mean(((own - other) ** 2).sum(), len(own))}, variables

    @jax.jit
    def both(student, teacher, batch):
        lent = lend(steps.grad(distance), "other", lambda _: teacher)
        return lent(student, {}, batch, jax.random.key(0))[0]

    batch, student, teacher = make_batch(0, MASK), parameters(0), parameters(1)
    targets = np.tanh(batch["x"] @ teacher["hidden"]) @ teacher["out"]
    plain, *_ = steps.grad(loss)(student, {}, {"x": batch["x"], "y": targets, "mask": np.ones(8, np.float32)}, None)
    assert_close(both(student, teacher, batch), plain, 1e-5)


# Two losses, each with a denominator of its own.


def two_means(params, variables, batch, key, *, train):
    whole = variables["weights"]
    first, second = (
        ((batch["x"] @ params["w"] - batch[y]) ** 2 * batch[m]).sum() for y, m in (("y", "mask"), ("z", "told"))
    )
    rate = whole["mask"] / jnp.where(whole["told"] == 0, 1, whole["told"])
    return {"loss": Mean(first.sum() + second.sum() * rate, batch["mask"].sum())}, variables


def weights(batch):
    return {"mask": batch["mask"].sum(), "told": batch["told"].sum()}


def two_batch(mask, told):
    return make_batch(0, mask) | {"z": make_batch(1, mask)["y"], "told": np.asarray(told, np.float32)}


def by_hand(w, batch):
    """The gradient of the sum of two weighted means, in float64."""
    batch = {name: x.astype(np.float64) for name, x in batch.items()}

    def of_mean(y, mask):
        return 2 * ((batch["x"] @ w - batch[y]) * batch[mask]) @ batch["x"] / max(batch[mask].sum(), 1e-300)

    return of_mean("y", "mask") + of_mean("z", "told")


W = np.array([0.5, -1.0, 0.25], np.float32)
COMPILED = {}


def descended(name, parts, batch):
    """How far an update of rate 1 moves the parameters."""
    place, tx = PLACES[name], optax.sgd(1.0)
    if (name, parts) not in COMPILED:
        grad = weigh(steps.accumulate(steps.grad(two_means), parts), weights, place.sum)
        COMPILED[name, parts] = place.compile(steps.update(place.reduce(grad), tx), donate=False)
    state = place.init(lambda key: steps.new_state({"w": jnp.asarray(W)}, tx, key), jax.random.key(0))
    after, metrics = COMPILED[name, parts](state, place.put(batch))
    assert after.variables == {}
    return W - np.asarray(after.params["w"]), metrics["loss"].compute()


@pytest.mark.parametrize(("name", "parts"), [("local", 1), ("local", 4), ("pmap", 1), ("pmap", 2), ("mesh(2, 2)", 2)])
@settings(max_examples=8)
@given(mask=masks(8), told=masks(8))
def test_two_means_are_descended_whatever_the_micro_batches_and_devices(name, parts, mask, told):
    batch = two_batch(mask, told)
    moved, value = descended(name, parts, batch)
    np.testing.assert_allclose(moved, by_hand(W, batch), rtol=1e-4, atol=1e-4)
    x, error = batch["x"].astype(np.float64), {}
    for y, m in (("y", "mask"), ("z", "told")):
        error[m] = ((x @ W - batch[y]) ** 2 * batch[m]).sum() / batch[m].sum()
    assert value == pytest.approx(error["mask"] + error["told"], rel=1e-4)


@everywhere
def test_a_second_loss_without_any_weight_adds_nothing(name):
    batch = two_batch(MASK, [0.0] * 8)
    moved, _ = descended(name, 1, batch)
    np.testing.assert_allclose(moved, by_hand(W, batch), rtol=1e-5, atol=1e-5)


def test_a_sum_of_means_of_micro_batches_would_be_another_gradient():
    batch = two_batch(MASK, [1.0, 0, 0, 0, 1, 0, 0, 1])
    parts = [{name: x[part::2] for name, x in batch.items()} for part in range(2)]
    assert np.abs(np.mean([by_hand(W, part) for part in parts], 0) - by_hand(W, batch)).max() > 0.1
