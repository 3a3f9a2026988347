"""What a placement gives a step: sums, keys, rows in order, and leaves that are split by their path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parallel_helpers import PLACES, each

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.steps import Mean

EVERYWHERE = ("local", "pmap", "mesh(4, 1)", "mesh(2, 2)")
everywhere = pytest.mark.parametrize("name", each(EVERYWHERE))
ROWS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
RULES = (("worlds", ("examples",)), ("table", ("fsdp", None)))


def measured(name, function, *arguments):
    """What a function of (state, batch) gives as metrics, summed by itself."""
    place = PLACES[name]
    state = place.init(lambda key: {"x": jnp.zeros(2)}, jax.random.key(0))
    return place.compile(function, donate=False)(state, place.put({"rows": ROWS}))


@everywhere
def test_a_sum_is_that_of_the_whole_batch(name):
    place = PLACES[name]
    found = measured(name, lambda state, batch: place.sum({"all": batch["rows"].sum(), "count": len(batch["rows"])}))
    assert found["count"] == 8
    np.testing.assert_allclose(found["all"], ROWS.sum(), rtol=1e-5)


@everywhere
def test_a_key_differs_by_device_where_values_are_local_and_only_there(name):
    place, key = PLACES[name], jax.random.key(5)

    def spread(state, batch):
        own = jax.random.uniform(place.key(key))
        mean = place.sum(own) / place.sum(1)
        return {"mean": mean, "spread": place.sum(jnp.abs(own - mean))}

    found = measured(name, spread)
    if name == "pmap":
        drawn = [jax.random.uniform(jax.random.fold_in(key, device)) for device in range(4)]
        assert found["spread"] > 0.1
        np.testing.assert_allclose(found["mean"], np.mean(drawn), rtol=1e-5)
    else:
        assert (found["mean"], found["spread"]) == (jax.random.uniform(key), 0)


@everywhere
@pytest.mark.parametrize("rules", [(), RULES], ids=["whole", "split"])
def test_a_map_keeps_the_order_of_the_rows(name, rules):
    place = PLACES[name].with_rules(rules)
    state = place.init(lambda key: {"x": jnp.arange(1.0, 4.0), "worlds": jnp.arange(8.0)}, jax.random.key(0))

    def function(state, batch):
        return {"scaled": batch["rows"] * state["x"][None], "sum": batch["rows"].sum(1), "worlds": state["worlds"]}

    found = place.map(function)(state, place.put({"rows": ROWS}))
    np.testing.assert_array_equal(found["scaled"], ROWS * np.arange(1, 4, dtype=np.float32))
    np.testing.assert_allclose(found["sum"], ROWS.sum(1), rtol=1e-6)
    if rules:  # each device gives the part of a split leaf that goes with its examples
        np.testing.assert_array_equal(found["worlds"], np.arange(8.0))


def walk(place):
    """A step that moves each world by its own row, and trains on the mean of all."""

    def step(state, batch):
        moved = state["worlds"] + batch["rows"].sum(1)
        total = place.sum(moved.sum())
        new = {"worlds": moved, "table": state["table"] * 0.5 + total, "x": state["x"] + total}
        return new, {"loss": Mean(total, jnp.float32(8))}

    return step


def begin(key):
    return {"worlds": jax.random.normal(key, (8,)), "table": jnp.ones((4, 3)), "x": jnp.zeros(())}


@everywhere
@pytest.mark.parametrize("donate", [True, False])
def test_each_device_updates_its_own_part_and_the_whole_is_that_of_one_device(name, donate):
    found = {}
    for at in ("local", name):
        place = PLACES[at].with_rules(RULES)
        state, step = place.init(begin, jax.random.key(0)), place.compile(walk(place), donate=donate)
        for _ in range(3):
            state, metrics = step(state, place.put({"rows": ROWS}))
        found[at] = place.fetch(state), steps.compute(place.fetch(metrics))
        layout = place.layout(jax.eval_shape(begin, jax.random.key(0)))
        for leaf, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(layout), strict=True):
            assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), found[name], found["local"])


@pytest.mark.parametrize(
    ("name", "worlds", "table"), [("local", 8, 4), ("pmap", 2, 4), ("mesh(4, 1)", 2, 4), ("mesh(2, 2)", 2, 2)]
)
def test_a_rule_says_how_much_of_a_leaf_a_device_has(name, worlds, table):
    state = PLACES[name].with_rules(RULES).init(begin, jax.random.key(0))
    parts = {leaf: x.addressable_shards[0].data.shape for leaf, x in state.items()}
    assert parts == {"worlds": (worlds,), "table": (table, 3), "x": ()}


def test_the_first_rule_that_fits_counts_and_rules_given_later_go_first():
    place = PLACES["mesh(2, 2)"].with_rules((("table", (None, "fsdp")),)).with_rules((("tab", ("data",)), ("ta", ())))
    state = place.init(lambda key: {"table": jnp.ones((4, 2))}, jax.random.key(0))
    assert state["table"].addressable_shards[0].data.shape == (2, 2)


@everywhere
def test_a_rule_is_for_leaves_of_the_state_and_not_for_metrics_of_the_same_name(name):
    place = PLACES[name].with_rules((("worlds", ("examples",)),))

    def measure(state, batch):
        return {"worlds": Mean(state["worlds"].sum(), jnp.float32(len(state["worlds"])))}

    def step(state, batch):
        return state, place.sum(measure(state, batch))

    state, batch = place.init(begin, jax.random.key(0)), place.put({"rows": ROWS})
    evaluate = place.compile(place.reduce_metrics(measure), donate=False)
    expected = np.asarray(begin(jax.random.key(0))["worlds"]).mean()
    for metrics in (evaluate(state, batch), place.compile(step)(state, batch)[1]):
        assert metrics["worlds"].compute() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["pmap", "mesh(2, 2)"])
@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (("examples",), r"an array of shape \[6, 3\] does not divide over \['examples'\] of a mesh of"),
        (("example",), r"a rule splits an array of shape \[6, 3\] over \['example'\]: name at most one of examples"),
        ((None, None, "fsdp"), r"a rule splits an array of shape \[6, 3\] over \[None, None, 'fsdp'\]"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_in_one_line(name, axes, words):
    place = PLACES[name].with_rules((("x", axes),))
    with pytest.raises(BadInput, match=rf"^{words}[^\n]*$"):
        place.init(lambda key: {"x": jnp.ones((6, 3))}, jax.random.key(0))


@pytest.mark.parametrize("name", ["pmap", "mesh(4, 1)"])
def test_any_axis_of_a_leaf_may_be_that_of_the_examples(name):
    place = PLACES[name].with_rules((("x", (None, "examples")),))
    state = place.init(lambda key: {"x": jnp.arange(16.0).reshape(2, 8)}, jax.random.key(0))

    def step(state, batch):
        return {"x": state["x"] + batch["rows"][:, 0][None]}, {"loss": Mean(place.sum(state["x"].sum()), 1.0)}

    after, metrics = place.compile(step)(state, place.put({"rows": ROWS}))
    np.testing.assert_allclose(after["x"], np.arange(16).reshape(2, 8) + ROWS[:, 0], rtol=1e-6)
    assert metrics["loss"].compute() == 120
