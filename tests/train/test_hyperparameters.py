"""Hyperparameters of a config in the state of its run: which there are, and under every placement."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxlm import steps
from jaxlm.data.images.sources import Digits
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.models.resnet import ResNet
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, hyperparameters, with_hyperparameters
from jaxlm.train.hyperparameters import set_state_hyperparameters, values_of
from whole_path import ROOT

BUILD = load_module(ROOT / "experiments" / "image_classification.py").build
CONFIG = Config(
    model=MLP(classes=10, hidden=(16,), dropout=0.25),
    data=Digits(batch=32, eval_batch=360),
    loss=Classification(smoothing=0.125),
    optim=AdamW(peak_lr=1e-2, weight_decay=0.5),
    run=Run(steps=9, ema=0.75),
)
VALUES = {"model.dropout": 0.25, "loss.smoothing": 0.125, "run.ema": 0.75}


def test_0_and_what_a_config_does_not_have_is_structure():
    assert hyperparameters(CONFIG) == VALUES
    plain = dataclasses.replace(CONFIG, loss=Classification(), run=Run())
    assert hyperparameters(plain) == {"model.dropout": 0.25}
    assert hyperparameters(dataclasses.replace(plain, model=ResNet(classes=10, stages=(1,)), loss=None)) == {}


def test_a_config_takes_other_values():
    changed = with_hyperparameters(CONFIG, {"model.dropout": 0.5, "optim.peak_lr": 2.0})
    assert (changed.model.dropout, changed.optim.peak_lr) == (0.5, 2.0)
    assert with_hyperparameters(changed, {"model.dropout": 0.25, "optim.peak_lr": 1e-2}) == CONFIG
    assert values_of(changed, ["run.ema"]) == {"run.ema": 0.75, "optim.peak_lr": 2.0, "optim.weight_decay": 0.5}


@pytest.mark.parametrize("kind", ["local", "mesh", "pmap"])
def test_a_state_holds_them_under_every_placement_and_a_step_leaves_them(kind):
    place = PlacementSpec(kind=kind).build()
    experiment = BUILD(CONFIG, place)
    state = place.init(experiment.init, jax.random.key(0))
    template = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)
    given = {
        "model.dropout": 0.5,
        "loss.smoothing": 0.0625,
        "run.ema": 0.5,
        "optim.peak_lr": 2e-3,
        "optim.weight_decay": 0.25,
    }
    state = set_state_hyperparameters(state, given)
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state.hyperparameters) == template.hyperparameters
    state, metrics = place.compile(experiment.step)(state, place.put(experiment.train_data[0]))
    in_optimizer = {f"optim.{name}": state.opt_state.hyperparams[name] for name in ("peak_lr", "weight_decay")}
    held = state.hyperparameters | in_optimizer
    assert {name: float(value) for name, value in held.items()} == {name: np.float32(x) for name, x in given.items()}
    own = BUILD(with_hyperparameters(CONFIG, given), place)
    expected, own_metrics = place.compile(own.step)(
        place.init(own.init, jax.random.key(0)), place.put(own.train_data[0])
    )
    assert float(metrics["loss"].total) == float(own_metrics["loss"].total)
    for one, other in zip(jax.tree.leaves(state.ema), jax.tree.leaves(expected.ema), strict=True):
        np.testing.assert_array_equal(one, other)


def test_those_of_a_joint_state_are_set_in_each_part_with_an_optimizer():
    tx = CONFIG.optim(9)
    parts = {name: steps.new_state({"kernel": np.ones((2, 2))}, tx, jax.random.key(0)) for name in ("one", "two")}
    parts["two"] = parts["two"].replace(hyperparameters={"run.ema": np.float32(0.5)})
    state = jax.device_put(steps.joint(jax.random.key(0), world=np.zeros(3), **parts))
    found = set_state_hyperparameters(state, {"optim.peak_lr": 0.75, "run.ema": 0.25}).parts
    assert [found[name].opt_state.hyperparams["peak_lr"] for name in ("one", "two")] == [0.75, 0.75]
    assert (found["one"].hyperparameters, found["two"].hyperparameters) == ({}, {"run.ema": 0.25})
    assert found["world"] is state.parts["world"]
