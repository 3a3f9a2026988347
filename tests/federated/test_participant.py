"""A client on another machine computes what it computes in the program of all clients; configs that do not fit."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlm import parallel
from jaxlm.errors import BadInput
from jaxlm.federated.client import Participant
from jaxlm.optim import SGD
from jaxlm.runs.load import load_module
from jaxlm.steps.federated import CONTROL_RULES
from jaxlm.train.config import load_config
from step_helpers import assert_close

ROOT = Path(__file__).parents[2]
BUILD = load_module(ROOT / "experiments" / "federated.py").build


def small(**data):
    config = load_config(ROOT / "configs" / "federated_digits.py")
    spec = dataclasses.replace(config.data, **{"clients": 4, "batch": 4, "epochs": 1, "local_batch": 64} | data)
    model = dataclasses.replace(config.model, widths=(2,), hidden=4)
    return dataclasses.replace(config, model=model, data=spec, run=dataclasses.replace(config.run, accumulate=1))


def with_local(config, **fields):
    return dataclasses.replace(config, local=dataclasses.replace(config.local, **fields))


@pytest.mark.parametrize(
    "local", [{}, pytest.param({"proximal": 0.5, "weights": "clients"}, marks=pytest.mark.slow)], ids=str
)
def test_the_average_of_participants_is_the_round_of_one_program(local):
    config, place = with_local(small(deal="dirichlet", alpha=0.5), **local), parallel.local()
    experiment = BUILD(config, place)
    state = place.init(experiment.init, jax.random.key(0))
    params = state.params
    step = place.compile(experiment.step, donate=False)
    for number in range(2):
        state, metrics = step(state, experiment.train_data[number])
        found = [Participant(config, client).train(params, number) for client in range(4)]
        weights = np.array([weight for _, weight, _ in found])
        params = jax.tree.map(lambda *own, w=weights: np.average(own, axis=0, weights=w), *(own for own, _, _ in found))
        assert metrics["loss"].compute() == pytest.approx(
            np.average([loss for *_, loss in found], weights=weights), 1e-5
        )
    assert_close(params, state.params, 1e-5)


def test_clients_do_not_train_what_the_server_freezes():
    config = small()
    freeze = {"freeze": "^(?!.*head)"}
    frozen = dataclasses.replace(config, optim=dataclasses.replace(config.optim, **freeze))
    both = with_local(frozen, optim=dataclasses.replace(frozen.local.optim, **freeze))
    found = []
    for one in (frozen, both):
        place = parallel.local()
        experiment = BUILD(one, place)
        state = place.init(experiment.init, jax.random.key(0))
        after, _ = place.compile(experiment.step, donate=False)(state, experiment.train_data[0])
        found.append(after.params)
    assert_close(found[0], found[1], 1e-6)
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), state.params, found[0])
    assert any(jax.tree.leaves(moved["head"]))
    assert not any(jax.tree.leaves({name: x for name, x in moved.items() if name != "head"}))


def test_scaffold_trains_and_keeps_control_variates_where_the_clients_are():
    config = small(clients=8, grouped=True, deal="shards")
    config = with_local(config, method="scaffold", weights="clients")
    place = parallel.pmap().with_rules(CONTROL_RULES)
    experiment = BUILD(config, place)
    state, step = place.init(experiment.init, jax.random.key(0)), place.compile(experiment.step, donate=False)
    for number in range(2):
        state, _ = step(state, place.put(experiment.train_data[number]))
    moved = {x.shape[0] for x in jax.tree.leaves(state.parts["controls"].clients)}
    parts = {x.addressable_shards[0].data.shape[0] for x in jax.tree.leaves(state.parts["controls"].clients)}
    assert (moved, parts) == ({8}, {8 // place.devices})
    norms = np.asarray(
        [np.abs(np.asarray(x)).reshape(8, -1).sum(1) for x in jax.tree.leaves(state.parts["controls"].clients)]
    )
    chosen = {number for index in range(2) for number in np.arange(4) * 2 + experiment.train_data[index]["member"]}
    assert set(np.flatnonzero(norms.sum(0))) == chosen


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ({"method": "scaffold", "optim": SGD(momentum=0.9)}, "plain SGD"),
        ({"method": "scaffold"}, "--local.weights clients"),
        ({"method": "scaffold", "weights": "clients"}, "--data.grouped"),
        ({"proximal": -1.0}, "local.proximal is -1.0"),
    ],
)
def test_local_training_that_does_not_fit_is_one_line(local, message):
    with pytest.raises(BadInput, match=message) as raised:
        BUILD(with_local(small(), **local), parallel.local())
    assert "\n" not in str(raised.value)


def test_a_participant_that_cannot_be_is_named():
    with pytest.raises(BadInput, match="client 4 of 4"):
        Participant(small(), 4)
    with pytest.raises(BadInput, match="keep no state"):
        Participant(with_local(small(), method="scaffold"), 0)


def test_batch_statistics_are_refused_before_anything_is_trained():
    config = small()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, norm="batch"))
    place = parallel.local()
    experiment = BUILD(config, place)
    state = place.init(experiment.init, jax.random.key(0))
    with pytest.raises(BadInput, match="--model.norm group"):
        jax.eval_shape(experiment.step, state, experiment.train_data[0])
