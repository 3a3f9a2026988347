"""Weights that become zero follow their schedule, and those that stay zero stay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm.compress.prune import prune_average, prune_groups, prune_share, zeros_of
from jaxlm.errors import BadInput
from jaxlm.optim import SGD, AdamW
from jaxlm.optim.prune import Prune


def params():
    rng = np.random.default_rng(0)
    return {
        "a": {"kernel": jnp.asarray(rng.normal(size=(16, 10)), jnp.float32), "bias": jnp.zeros(10)},
        "b": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 8, 6)), jnp.float32)},
    }


def trained(spec, start, steps=20):
    """The parameters after each update, along random gradients."""
    tx, found = spec(steps), [start]
    state = tx.init(start)
    update = jax.jit(tx.update)
    for number in range(steps):
        keys = jax.random.split(jax.random.key(number), 3)
        leaves, form = jax.tree.flatten(start)
        gradients = jax.tree.unflatten(form, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)])
        updates, state = update(gradients, state, found[-1])
        found.append(optax.apply_updates(found[-1], updates))
    return found[1:]


def shares(tree):
    return [float((tree[name]["kernel"] == 0).mean()) for name in ("a", "b")]


def test_a_share_rises_to_the_whole_as_a_cubic():
    spec = SGD(peak_lr=0.1, prune=Prune(share=0.5, begin=4, end=14))
    for done, tree in enumerate(trained(spec, params()), 1):
        part = min(max((done - 4) / 10, 0), 1)
        expected = 0.5 * (1 - (1 - part) ** 3)
        np.testing.assert_allclose(shares(tree), expected, atol=0.004)
        assert (tree["a"]["bias"] != 0).all()


def test_the_smallest_are_zero():
    spec = SGD(peak_lr=0.1)
    dense = trained(spec, params(), 1)[0]
    pruned = trained(SGD(peak_lr=0.1, prune=Prune(share=0.3, end=1)), params(), 1)[0]
    for name in ("a", "b"):
        whole, kept = np.asarray(dense[name]["kernel"]), np.asarray(pruned[name]["kernel"])
        np.testing.assert_allclose(kept[kept != 0], whole[kept != 0], rtol=1e-6)
        assert np.abs(whole[kept == 0]).max() <= np.abs(whole[kept != 0]).min()


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_zeros_stay_zeros_and_others_train(kind):
    start = prune_groups(params(), 2, 4)
    spec = kind(peak_lr=0.1, weight_decay=0.1, prune=Prune(keep=True))
    for tree in trained(spec, start):
        for name in ("a", "b"):
            np.testing.assert_array_equal(tree[name]["kernel"] == 0, start[name]["kernel"] == 0)
        assert (tree["a"]["bias"] != 0).all()


def test_without_pruning_nothing_changes():
    spec = AdamW(peak_lr=0.1)
    for a, b in zip(trained(spec, params(), 3), trained(AdamW(peak_lr=0.1), params(), 3), strict=True):
        assert jax.tree.all(jax.tree.map(jnp.array_equal, a, b))


def test_two_of_four_neighbours_of_the_inputs_stay():
    for name, w in (("a", (16, 10)), ("b", (3, 3, 8, 6))):
        found = np.asarray(prune_groups(params(), 2, 4)[name]["kernel"])
        given = np.asarray(params()[name]["kernel"])
        groups = np.moveaxis(found, -2, -1).reshape(-1, 4)
        originals = np.moveaxis(given, -2, -1).reshape(-1, 4)
        assert ((groups != 0).sum(-1) == 2).all()
        for kept, all_of_them in zip(groups, originals, strict=True):
            assert set(kept[kept != 0]) == set(all_of_them[np.argsort(-np.abs(all_of_them))[:2]])
        assert found.shape == w


def test_inputs_past_the_last_group_stay():
    w = {"kernel": jnp.ones((6, 2))}
    np.testing.assert_array_equal(prune_groups(w, 1, 4)["kernel"].sum(0), [3, 3])
    np.testing.assert_array_equal(prune_groups({"kernel": jnp.ones((3, 2))}, 1, 4)["kernel"], 1)


def test_an_average_keeps_the_zeros_of_the_weights_that_it_moves_towards():
    before = {"kernel": jax.random.normal(jax.random.key(0), (64, 8)), "bias": jnp.zeros(8)}
    average = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), before)
    after = {**before, "kernel": prune_groups(before, 2, 4)["kernel"]}
    pruned = prune_average(average, before, after)
    moved = 0.9 * pruned["kernel"] + 0.1 * after["kernel"]
    assert ((moved.reshape(16, 4, 8) != 0).sum(1) == 2).all()
    kept = after["kernel"] != 0
    np.testing.assert_array_equal(pruned["kernel"][kept], average["kernel"][kept])
    np.testing.assert_array_equal(pruned["bias"], average["bias"])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_share_is_set_to_zero_at_once(share):
    zeros, size = zeros_of(prune_share(params(), share))
    assert abs(zeros / size - share) < 0.005


@pytest.mark.parametrize(
    "prune", [Prune(share=1.0), Prune(share=-0.1), Prune(share=0.5, begin=3, end=2), Prune(end=99)]
)
def test_what_cannot_be_is_refused(prune):
    with pytest.raises(BadInput, match=r"optim\.prune"):
        SGD(prune=prune)(10)


@pytest.mark.parametrize("prune", [Prune(share=0.5), Prune(keep=True)])
def test_what_is_frozen_is_not_pruned(prune):
    params = {name: {"kernel": jnp.arange(1.0, 13).reshape(3, 4)} for name in ("body", "head")}
    tx = SGD(peak_lr=0.1, warmup=0, freeze="^body", prune=prune)(10)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    after = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(after["body"]["kernel"], params["body"]["kernel"])
    assert (after["head"]["kernel"] == 0).sum() == (6 if prune.share else 0)
