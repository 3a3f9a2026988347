"""Clients: every example is dealt once, and rounds are functions of (seed, round)."""

import dataclasses

import numpy as np
import pytest

from jaxlm.data.arrays import ArraySource
from jaxlm.data.clients import Clients
from jaxlm.data.clients.deal import deal_dirichlet, deal_evenly, deal_shards
from jaxlm.data.clients.rounds import ClientRows, Rounds
from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput

LABELS = np.arange(400) % 10
DEALS = {
    "even": lambda seed: deal_evenly(400, 7, seed),
    "shards": lambda seed: deal_shards(LABELS, 20, 2, seed),
    "dirichlet": lambda seed: deal_dirichlet(LABELS, 9, 0.3, seed),
    "unequal": lambda seed: deal_dirichlet(LABELS, 30, 1e-4, seed),
}


def same(one, other):
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", DEALS)
def test_every_example_is_dealt_once_and_the_deal_follows_its_seed(name):
    dealt = DEALS[name](1)
    assert sorted(np.concatenate(dealt)) == list(range(400))
    assert same(dealt, DEALS[name](1))
    assert not same(dealt, DEALS[name](2))


def test_the_three_deals_are_what_they_say():
    assert {len(rows) for rows in DEALS["even"](0)} == {57, 58}
    assert max(len(np.unique(LABELS[rows])) for rows in DEALS["shards"](0)) == 2
    assert {len(rows) for rows in DEALS["shards"](0)} == {20}
    assert all(sum(label in LABELS[rows] for rows in DEALS["unequal"](0)) <= 2 for label in range(10))
    shares = [np.bincount(LABELS[rows], minlength=10).max() for rows in deal_dirichlet(LABELS, 5, 1e4, 0)]
    assert max(shares) <= 10


def source(sizes=(5, 1, 3, 0, 4, 2), **options):
    """Clients whose examples are called by the client and a number."""
    ends = np.cumsum(sizes)
    names = np.concatenate([100 * client + np.arange(size) for client, size in enumerate(sizes)]).astype(np.int32)
    deal = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return ClientRows(ArraySource({"name": names}), deal, **{"epochs": 3, "local_batch": 2} | options)


def seen(batch, client):
    """The names of the examples of each local batch of a client, padding left out."""
    count = batch["updates"][client]
    assert not batch["has"][client, count:].any()
    names = batch["name"][client][batch["order"][client, :count]]
    return [list(row[has > 0]) for row, has in zip(names, batch["has"][client, :count], strict=True)]


def test_a_client_goes_through_its_own_examples_once_an_epoch():
    clients = source()
    batch = Rounds(clients, 6, seed=4)[2]
    assert (clients.updates, batch["order"].shape) == (9, (6, 9, 2))
    numbers = [int(batch["name"][place, 0]) // 100 if batch["updates"][place] else 3 for place in range(6)]
    assert sorted(numbers) == list(range(6))
    orders = []
    for place, client in enumerate(numbers):
        size = int(clients.sizes[client])
        batches = seen(batch, place)
        assert [len(one) for one in batches] == 3 * ([2] * (size // 2) + [1] * (size % 2))
        for epoch in np.split(np.array([name for one in batches for name in one]), 3):
            assert sorted(epoch) == [100 * client + number for number in range(size)]
            orders.append(list(epoch))
    assert len({tuple(order) for order in orders if len(order) == 5}) > 1


def test_a_round_is_drawn_without_replacement_and_follows_seed_and_number():
    rounds = Rounds(source((2,) * 12), 4, seed=1)
    drawn = [tuple(rounds[index]["name"][:, 0] // 100) for index in range(40)]
    assert all(len(set(clients)) == 4 for clients in drawn)
    assert len(set(drawn)) > 30
    assert set(np.concatenate(drawn)) == set(range(12))
    assert drawn != [tuple(Rounds(source((2,) * 12), 4, seed=2)[index]["name"][:, 0] // 100) for index in range(40)]


def test_shards_of_a_round_are_the_round_with_and_without_groups():
    for grouped in (False, True):
        whole = Rounds(source((2,) * 12), 4, seed=1, grouped=grouped)
        parts = [whole.shard(index, 2)[5] for index in range(2)]
        for name, values in whole[5].items():
            joined = np.stack([part[name] for part in parts], axis=1).reshape(values.shape)
            assert np.array_equal(joined, values), name
        assert whole.shard(1, 2).fingerprint() == whole.fingerprint()


def test_each_client_of_a_grouped_round_is_of_its_own_group():
    rounds = Rounds(source((2,) * 12), 4, seed=1, grouped=True)
    drawn = np.stack([rounds[index]["name"][:, 0] // 100 for index in range(30)])
    assert np.array_equal(drawn // 3, np.broadcast_to(np.arange(4), (30, 4)))
    assert np.array_equal(rounds[7]["member"], drawn[7] % 3)
    assert set(drawn.reshape(-1)) == set(range(12))


def test_clients_drop_out_by_chance_and_then_do_nothing():
    rounds = Rounds(source((4,) * 12, drop=0.4), 12, seed=1)
    stayed = np.array([rounds[index]["updates"] > 0 for index in range(50)])
    assert 0.5 < stayed.mean() < 0.7
    assert not rounds[0]["has"][rounds[0]["updates"] == 0].any()
    whole, some = Rounds(source((4,) * 12), 12, seed=1)[3], rounds[3]
    assert np.array_equal(whole["order"][some["updates"] > 0], some["order"][some["updates"] > 0])


def test_the_fingerprint_covers_deal_and_order():
    spec = Clients(examples=Digits(), clients=10, batch=5)
    changes = [{"deal": "shards"}, {"deal_seed": 1}, {"epochs": 1}, {"local_batch": 0}, {"drop": 0.1}, {"clients": 20}]
    found = {dataclasses.replace(spec, **change).train().fingerprint() for change in [{}, *changes, {"batch": 2}]}
    assert len(found) == 8


def test_clients_without_examples_are_counted():
    lines = Clients(clients=100, batch=5, deal="dirichlet", alpha=0.02).log_lines()
    assert any("of them without any" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clients": 2000, "batch": 1}, "1437 examples are fewer than data.clients .2000."),
        ({"deal": "shards", "clients": 800}, "fewer than data.clients times data.shards .1600."),
        ({"batch": 101}, "a round of 101 clients .data.batch. of 100 in all"),
        ({"clients": 101, "grouped": True}, "101 clients do not divide into 10 groups"),
        ({"alpha": 0.0, "deal": "dirichlet"}, "data.alpha is 0.0"),
        ({"shards": 0, "deal": "shards"}, "data.shards is 0"),
        ({"drop": 1.0}, "data.drop is 1.0"),
        ({"epochs": 0}, "data.epochs is 0"),
    ],
)
def test_bad_input_is_one_line(change, message):
    with pytest.raises(BadInput, match=message) as raised:
        Clients(**change).train()
    assert "\n" not in str(raised.value)
