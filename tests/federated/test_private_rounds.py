"""Privacy of whole clients: what a client adds is bounded, room for more changes nothing, runs say what holds."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.data.poisson import Poisson
from jaxlm.errors import BadInput
from jaxlm.federated.client import Participant
from jaxlm.privacy import Privacy
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.steps.federated import federated
from jaxlm.train import train
from jaxlm.train.config import load_config
from step_helpers import FEATURES, PLACES, assert_close, everywhere, loss, parameters
from whole_path import final_bits

ROOT = Path(__file__).parents[2]
BUILD = load_module(ROOT / "experiments" / "federated.py").build
PRIVACY = Privacy(epsilon=20.0, delta=1e-2, clip_norm=0.5)


def small(**changes):
    config = load_config(ROOT / "configs" / "federated_digits.py")
    data = dataclasses.replace(config.data, clients=40, batch=8, epochs=1, local_batch=8, deal="even")
    run = dataclasses.replace(config.run, steps=6, accumulate=4, eval_every=6, save_every=2, log_every=2)
    local = dataclasses.replace(config.local, weights="clients")
    model = dataclasses.replace(config.model, widths=(2,), hidden=4)
    return dataclasses.replace(config, model=model, data=data, run=run, local=local, privacy=PRIVACY, **changes)


def sampled(update, count=8):
    """Round `update` of a Poisson sample of forty clients, in room for `count`."""
    rows = small().data.rows()
    return Poisson(rows, 0.1, 8, count, 10, seed=3)[update]


def digits_gradient(**options):
    config = small()
    loss = config.loss(config.model)
    variables = config.model.init(jax.random.key(0), config.data.example())
    grad = federated(steps.grad(loss), optax.sgd(0.1), weights="clients", **options)
    return jax.jit(lambda batch: grad(variables["params"], {}, batch, jax.random.key(1))[:2])


def test_room_for_more_clients_changes_no_number():
    rounds = digits_gradient(clip_norm=0.5)
    numbers = {int(sampled(update)["mask"].sum()) for update in range(4)}
    assert len(numbers) > 1  # a sample, not a fixed number
    for update in range(4):
        (grads, metrics), (roomy, same) = rounds(sampled(update)), rounds(sampled(update, 16))
        assert_close(grads, roomy, 1e-6)
        assert metrics["loss"].weight == same["loss"].weight == sampled(update)["mask"].sum()


def test_a_client_moves_the_sum_by_the_clip_norm_at_most_and_by_nothing_where_it_is_not_finite():
    rounds, batch = digits_gradient(clip_norm=1e-3), sampled(0)
    client = int(np.flatnonzero(batch["mask"])[0])
    without = {name: x.copy() for name, x in batch.items()}
    without["updates"][client] = 0
    broken = {name: x.copy() for name, x in batch.items()}
    broken["image"] = broken["image"].astype(np.float32)
    broken["image"][client] = np.nan
    whole, less, same = (rounds(one)[0] for one in (batch, without, broken))
    apart = optax.tree.norm(jax.tree.map(jnp.subtract, whole, less))
    assert apart == pytest.approx(1e-3, rel=1e-3)
    assert_close(same, less, 1e-7)


@everywhere
def test_noise_is_added_once_to_the_sum_of_all_clients(name):
    given = np.random.default_rng(0)
    batch = {
        "x": given.normal(size=(8, 4, FEATURES)).astype(np.float32),
        "y": given.normal(size=(8, 4)).astype(np.float32),
        "order": np.tile(np.arange(4, dtype=np.int32), (8, 1, 1)),
        "has": np.ones((8, 1, 4), np.float32),
        "updates": (np.arange(8) % 3 > 0).astype(np.int32),
        "keys": given.integers(0, 2**32, (8, 2), np.uint32),
    }

    def after(place, std):
        rounds = federated(steps.grad(loss), optax.sgd(0.1), weights="clients", clip_norm=0.3)
        grad = steps.add_noise(place.reduce(steps.accumulate(rounds, 2)), std, 4.0)
        step = place.compile(steps.update(grad, optax.sgd(1.0)), donate=False)
        state = place.init(lambda key: steps.new_state(parameters(), optax.sgd(1.0), key), jax.random.key(0))
        return place.fetch(step(state, place.put(batch))[0].params)

    here, alone = (
        jax.tree.map(np.subtract, after(PLACES[one], 0.7), after(PLACES[one], 0.0)) for one in (name, "local")
    )
    assert_close(here, alone, 1e-5)
    assert optax.tree.norm(alone) > 0.05


@pytest.mark.parametrize(
    ("local", "data", "privacy", "message"),
    [
        ({"weights": "examples"}, {}, {}, "--local.weights clients"),
        ({"clip_norm": 1.0}, {}, {}, "leave out local.clip_norm"),
        ({}, {"grouped": True}, {}, "without --data.grouped"),
        ({}, {}, {"copies": 2}, "privacy.copies and privacy.norms"),
    ],
)
def test_what_cannot_be_private_is_one_line(local, data, privacy, message):
    config = small()
    parts = (("local", local), ("data", data), ("privacy", privacy))
    config = dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **fields) for name, fields in parts}
    )
    with pytest.raises(BadInput, match=message):
        BUILD(config, parallel.local())


def test_a_client_on_another_machine_adds_no_noise_and_refuses():
    with pytest.raises(BadInput, match="no privacy"):
        Participant(small(), 0)


@pytest.mark.slow
def test_a_private_run_of_clients_says_what_holds_and_resumes_to_the_same_bits(tmp_path):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'jaxlm[privacy]'")
    train(BUILD, small(), tmp_path / "run")
    promised = RunDirectory(tmp_path / "run").lineage()["sessions"][0]["privacy"]
    assert promised["neighbours"] == "one client added or removed"
    assert (promised["examples"], promised["rate"], promised["clip_norm"]) == (40, 0.2, 0.5)
    records = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [x["privacy/epsilon"] for x in records if "privacy/epsilon" in x][-1] == promised["epsilon"] <= 20
    whole = Poisson.__getitem__

    def cut(self, index):
        if index == 4:
            raise KeyError(index)
        return whole(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Poisson, "__getitem__", cut)
        with pytest.raises(KeyError):
            train(BUILD, small(), tmp_path / "half")
    train(BUILD, small(), tmp_path / "half")
    assert final_bits(tmp_path / "half") == final_bits(tmp_path / "run")
