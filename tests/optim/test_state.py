"""Hyperparameters are arrays in the state: they can be changed, differ by run, and never change type."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optim_helpers import assert_close, flat, run, tree

from jaxlm.errors import BadInput
from jaxlm.optim import SGD, Adafactor, Adam, AdamW, Lion, Muon, RMSProp, set_hyperparameters

SPECS = (
    SGD(),
    SGD(momentum=0.9),
    RMSProp(momentum=0.5),
    Adam(l1=0.1, l2=0.1),
    AdamW(warmup=2),
    Lion(),
    Adafactor(momentum=0.5, factor_from=4),
    Muon(),
)
by_name = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
GRADIENTS = [tree(seed) for seed in range(1, 5)]


def types(opt_state):
    return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x), getattr(x, "weak_type", False)), opt_state)


@by_name
def test_an_update_keeps_structure_shapes_and_dtypes_so_that_steps_can_be_scanned(spec):
    params, tx = tree(), spec(10)
    params["block"] = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params["block"])  # both dtypes at once

    def step(carry, _):
        params, opt_state = carry
        updates, opt_state = tx.update(params, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), opt_state.hyperparams["learning_rate"]

    start = (params, tx.init(params))
    end, rates = jax.jit(lambda carry: jax.lax.scan(step, carry, length=3))(start)
    assert types(end) == types(start)
    assert all(value.dtype == jnp.float32 for value in start[1].hyperparams.values())
    np.testing.assert_allclose(rates, spec.learning_rate(10)(np.arange(3)), rtol=1e-6)


@pytest.mark.parametrize("spec", [SGD(momentum=0.9), AdamW(warmup=2), Lion()], ids=lambda spec: type(spec).__name__)
def test_peak_and_decay_set_in_the_state_act_as_if_they_stood_in_the_spec(spec):
    tx, other = spec(10), dataclasses.replace(spec, peak_lr=0.02, weight_decay=0.7)(10)
    changed = set_hyperparameters(tx.init(tree()), {"peak_lr": 0.02, "weight_decay": 0.7})
    actual = run(tx, tree(), GRADIENTS, changed)
    jax.tree.map(np.testing.assert_array_equal, actual, run(other, tree(), GRADIENTS))
    unchanged, _ = run(tx, tree(), GRADIENTS)
    assert (flat(actual[0])["block/up/kernel"] != flat(unchanged)["block/up/kernel"]).any()


@pytest.mark.parametrize("spec", [AdamW(warmup=2), Muon(warmup=2)], ids=lambda spec: type(spec).__name__)
def test_runs_with_different_peaks_and_decays_under_vmap_equal_separate_runs(spec):
    tx, values = spec(10), {"peak_lr": np.float32([1e-3, 0.03, 0.1]), "weight_decay": np.float32([0.0, 0.1, 1.0])}

    def one(values):
        return run(tx, tree(), GRADIENTS[:2], set_hyperparameters(tx.init(tree()), values))

    packed, packed_state = jax.jit(jax.vmap(one))(values)
    for i in range(3):
        alone, state = one({name: value[i] for name, value in values.items()})
        assert_close(jax.tree.map(lambda x, i=i: x[i], packed), alone, 1e-6)
        np.testing.assert_allclose(packed_state.hyperparams["learning_rate"][i], state.hyperparams["learning_rate"])


def test_a_packed_state_takes_one_value_for_each_run():
    state = jax.vmap(lambda _: AdamW()(10).init(tree()))(jnp.arange(2))
    assert set_hyperparameters(state, {"peak_lr": [0.1, 0.2]}).hyperparams["peak_lr"].tolist() == [
        np.float32(0.1),
        np.float32(0.2),
    ]


def test_only_what_acts_may_be_set_in_the_state():
    for name in ("learning_rate", "peek"):
        with pytest.raises(BadInput, match=f"no hyperparameter '{name}'"):
            set_hyperparameters(AdamW()(10).init(tree()), {name: 0.1})


def test_clipping_that_is_off_adds_nothing_to_the_state_or_the_program():
    none, zero, tight = (AdamW(clip_norm=clip)(10) for clip in (None, 0.0, 1.0))
    assert jax.tree.structure(none.init(tree())) == jax.tree.structure(zero.init(tree()))
    assert len(none.init(tree()).inner_state) + 1 == len(tight.init(tree()).inner_state)
    programs = [str(jax.make_jaxpr(tx.update)(tree(), tx.init(tree()), tree())) for tx in (none, zero, tight)]
    assert [program.count("reduce_sum") for program in programs] == [0, 0, len(jax.tree.leaves(tree()))]


@given(st.floats(0.01, 100))
@settings(max_examples=10, deadline=None)
def test_clipping_bounds_the_norm_of_the_gradient_and_keeps_its_direction(clip):
    tx = SGD(peak_lr=1.0, schedule="constant", clip_norm=clip)(10)
    updates, _ = tx.update(tree(1), tx.init(tree()), tree())
    norm = np.sqrt(sum((x**2).sum() for x in flat(tree(1)).values()))
    expected = jax.tree.map(lambda g: -g * min(1, clip / norm), tree(1))
    assert_close(updates, expected)


def test_parameters_left_out_of_an_update_are_asked_for():
    tx = AdamW()(10)
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update(tree(1), tx.init(tree()))


@by_name
def test_a_spec_is_a_frozen_value_that_json_can_hold(spec):
    assert spec == dataclasses.replace(spec)
    assert hash(spec) == hash(dataclasses.replace(spec))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.peak_lr = 1.0
    assert json.loads(json.dumps(dataclasses.asdict(spec)))["peak_lr"] == spec.peak_lr


def test_a_spec_is_overridden_by_words_of_the_command_line():
    tyro = pytest.importorskip("tyro")
    words = ["--peak-lr", "1e-2", "--schedule", "wsd", "--clip-norm", "None", "--groups.2.decay", "0.5"]
    spec = tyro.cli(tyro.conf.AvoidSubcommands[AdamW], default=AdamW(warmup=7), args=words)
    assert (spec.peak_lr, spec.schedule, spec.clip_norm, spec.warmup) == (0.01, "wsd", None, 7)
    assert spec.groups[2] == dataclasses.replace(AdamW().groups[2], decay=0.5)
