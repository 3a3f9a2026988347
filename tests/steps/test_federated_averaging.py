"""Federated averaging, FedProx and SCAFFOLD against NumPy, against SGD, and on all placements."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.steps import transforms
from jaxlm.steps.federated import CONTROL_RULES, federated, new_controls, scaffold
from step_helpers import (
    FEATURES,
    PLACES,
    assert_close,
    assert_same_bits,
    everywhere,
    loss,
    noisy_loss,
    numpy_loss_and_gradient,
    parameters,
)

CLIENTS, EXAMPLES, LOCAL, RATE = 8, 6, 4, 0.2
TX = optax.sgd(RATE)


def round_of(seed, sizes, local=LOCAL, batch=2):
    """A round of clients with so many examples each: `local` local batches, or none of a client without examples."""
    draw = np.random.default_rng(seed)
    count = len(sizes)
    order, has = np.zeros((count, local, batch), np.int32), np.zeros((count, local, batch), np.float32)
    for client, size in enumerate(sizes):
        for number in range(local if size else 0):
            chosen = draw.permutation(size)[:batch]
            order[client, number, : len(chosen)], has[client, number, : len(chosen)] = chosen, 1
    return {
        "x": draw.normal(size=(count, EXAMPLES, FEATURES)).astype(np.float32),
        "y": draw.normal(size=(count, EXAMPLES)).astype(np.float32),
        "order": order,
        "has": has,
        "updates": np.where(np.asarray(sizes) > 0, local, 0).astype(np.int32),
        "keys": draw.integers(0, 2**32, (count, 2), np.uint32),
        "member": draw.integers(0, 2, count).astype(np.int32),
    }


def ragged(seed):
    return round_of(seed, (6, 1, 3, 0, 2, 5, 6, 4))


def by_hand(params, batch, proximal=0.0, shifts=None, equal=False, clip_norm=np.inf):
    """One round in NumPy: the server's new parameters, and the mean gradient of each client."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    trained, weights, means = [], [], []
    for client in range(len(batch["x"])):
        own, count = dict(params), int(batch["updates"][client])
        total = {name: np.zeros_like(x) for name, x in params.items()}
        for number in range(count):
            rows, mask = batch["order"][client, number], batch["has"][client, number]
            local = {"x": batch["x"][client][rows], "y": batch["y"][client][rows], "mask": mask}
            _, gradient = numpy_loss_and_gradient(own, local)
            total = {name: x + gradient[name] / count for name, x in total.items()}
            for name in own:
                shift = 0 if shifts is None else shifts[client][name]
                step = gradient[name] + proximal * (own[name] - params[name]) + shift
                own[name] = own[name] - RATE * step
        apart = {name: own[name] - params[name] for name in own}
        scale = min(1, clip_norm / max(np.sqrt(sum((x**2).sum() for x in apart.values())), 1e-12))
        trained.append({name: params[name] + scale * x for name, x in apart.items()})
        means.append(total)
        weights.append(float(count > 0) if equal else batch["has"][client].sum())
    return {name: np.average([own[name] for own in trained], axis=0, weights=weights) for name in params}, means


def average(place, parts=1, learn=loss, **options):
    grad = steps.accumulate(federated(steps.grad(learn), TX, **options), parts)
    return place.compile(steps.update(place.reduce(grad), optax.sgd(1.0)), donate=False)


def run(name, data, parts=1, **options):
    place = PLACES[name]
    state = place.init(lambda key: steps.new_state(parameters(), optax.sgd(1.0), key), jax.random.key(0))
    step = average(place, parts, **options)
    for batch in data:
        state, metrics = step(state, place.put(batch))
    return place.fetch(state.params), place.fetch(metrics)


@everywhere
@pytest.mark.parametrize(
    "options", [{}, {"proximal": 0.7}, {"weights": "clients"}, {"clip_norm": 0.3, "weights": "clients"}], ids=str
)
def test_a_round_is_that_of_numpy_wherever_it_runs(name, options):
    data, expected = [ragged(0), ragged(1)], parameters()
    for batch in data:
        others = {name: x for name, x in options.items() if name != "weights"}
        expected, _ = by_hand(expected, batch, equal="weights" in options, **others)
    for parts in (1, 2):
        found, metrics = run(name, data, parts, **options)
        assert_close(found, expected, 1e-5)
        assert set(metrics) == {"loss", "grad_norm"}
        assert metrics["loss"].weight == (7 if "weights" in options else data[-1]["has"].sum())


def test_one_client_with_one_local_update_is_sgd():
    batch = round_of(3, (2,), local=1)
    found, metrics = run("local", [batch])
    flat = {name: batch[name][0][batch["order"][0, 0]] for name in "xy"} | {"mask": batch["has"][0, 0]}
    state = steps.new_state(parameters(), TX, jax.random.key(0))
    state, alone = jax.jit(steps.update(steps.grad(loss), TX))(state, flat)
    assert_close(found, state.params, 1e-7)
    assert metrics["loss"].compute() == pytest.approx(float(alone["loss"].compute()))


def test_noise_is_of_the_clients_key_and_not_of_its_place():
    batch = ragged(0)
    turned = {name: x[::-1].copy() for name, x in batch.items()}
    assert_close(run("local", [batch], learn=noisy_loss)[0], run("pmap", [turned], learn=noisy_loss)[0], 1e-5)
    other = batch | {"keys": batch["keys"] + 1}
    assert not np.allclose(
        run("local", [batch], learn=noisy_loss)[0]["out"], run("local", [other], learn=noisy_loss)[0]["out"]
    )


def test_fedprox_without_its_term_is_federated_averaging():
    assert_same_bits(run("local", [ragged(0)], proximal=0.0), run("local", [ragged(0)]))


@pytest.mark.parametrize("weights", ["examples", "clients"])
def test_a_client_that_drops_out_changes_nothing(weights):
    whole = round_of(0, (6, 5, 4, 3))
    dropped = whole | {"updates": whole["updates"] * np.array([1, 1, 1, 0], np.int32)}
    without = {name: x[:3] for name, x in whole.items()}
    assert_close(run("local", [dropped], weights=weights), run("local", [without], weights=weights), 1e-6)


def test_a_round_that_nobody_ends_is_skipped():
    batch = ragged(0) | {"updates": np.zeros(CLIENTS, np.int32)}
    step = transforms.skip_nonfinite(steps.update(federated(steps.grad(loss), TX), optax.adam(0.1)))
    before = steps.new_state(parameters(), optax.adam(0.1), jax.random.key(0))
    after, metrics = jax.jit(step)(before, batch)
    assert_same_bits(after.params, before.params)
    assert metrics["skipped"].compute() == 1


def test_statistics_of_batches_are_refused():
    state = steps.new_state(parameters(), TX, jax.random.key(0), variables={"batch_stats": jnp.zeros(2)})
    with pytest.raises(BadInput, match="keeps batch_stats.*--model.norm group"):
        steps.update(federated(steps.grad(loss), TX), TX)(state, ragged(0))


def controlled(name, data, clients, parts=1):
    place = PLACES[name].with_rules(CONTROL_RULES)
    tx = optax.sgd(1.0)

    def init(key):
        server = steps.new_state(parameters(), tx, key)
        return steps.joint(key, server=server, controls=new_controls(server.params, clients))

    step = scaffold(
        steps.grad(loss), RATE, lambda grad: steps.update(grad, tx), place.sum, clients=clients, parts=parts
    )
    state, step = place.init(init, jax.random.key(0)), place.compile(step, donate=False)
    for batch in data:
        state, _ = step(state, place.put(batch))
    return place.fetch(state)


@everywhere
def test_scaffold_is_that_of_numpy_wherever_it_runs(name):
    data, params, clients = [ragged(n) for n in range(3)], parameters(), 2 * CLIENTS
    zeros = {key: np.zeros(x.shape) for key, x in params.items()}
    overall, own = zeros, [zeros] * clients
    for batch in data:
        numbers = np.arange(CLIENTS) * 2 + batch["member"]
        shifts = [{key: overall[key] - own[number][key] for key in params} for number in numbers]
        params, means = by_hand(params, batch, shifts=shifts, equal=True)
        before = list(own)
        for number, mean, updates in zip(numbers, means, batch["updates"], strict=True):
            own[number] = mean if updates else own[number]
        overall = {
            key: overall[key] + sum(new[key] - old[key] for new, old in zip(own, before, strict=True)) / clients
            for key in zeros
        }
    for parts in (1, 2):
        state = controlled(name, data, clients, parts)
        assert_close(state.parts["server"].params, params, 1e-5)
        assert_close(state.parts["controls"].server, overall, 1e-4)
        expected = {key: np.stack([one[key] for one in own]) for key in zeros}
        assert_close(state.parts["controls"].clients, expected, 1e-4)


def test_scaffold_with_one_local_update_of_all_clients_is_sgd():
    data = [round_of(n, (2,) * CLIENTS, local=1) | {"member": np.zeros(CLIENTS, np.int32)} for n in range(3)]
    state = steps.new_state(parameters(), TX, jax.random.key(0))
    step = jax.jit(steps.update(steps.grad(loss), TX))
    for batch in data:
        rows = np.arange(CLIENTS)[:, None], batch["order"][:, 0]
        flat = {name: batch[name][rows].reshape(-1, *batch[name].shape[2:]) for name in "xy"}
        state, _ = step(state, flat | {"mask": np.ones(2 * CLIENTS, np.float32)})
    assert_close(controlled("local", data, CLIENTS).parts["server"].params, state.params, 1e-5)
