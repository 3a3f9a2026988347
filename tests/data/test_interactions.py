"""Interactions: readers and their refusals, splits that lose nothing, negatives that are functions of seed and row."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from jaxlm.data.epoch import Epoch
from jaxlm.data.interactions import CiteULike, Fraction, InteractionFile, Interactions, LeaveOneOut
from jaxlm.data.interactions.log import Histories
from jaxlm.data.interactions.rows import InteractionRows, SampledRows
from jaxlm.data.interactions.sampling import draw_unmet, row_words
from jaxlm.data.interactions.splits import hold_out, in_time
from jaxlm.errors import BadInput
from jaxlm.losses import NextItem, Recommendation
from jaxlm.models.factorization import MatrixFactorization
from jaxlm.models.two_tower import TwoTower

ROWS = [("ann", "b", 3), ("ann", "a", 1), ("bob", "c", 2), ("ann", "c", 2), ("cid", "a", 5), ("cid", "b", 4)]


def write(folder, suffix, rows=ROWS):
    path = folder / f"log.{suffix}"
    if suffix == "jsonl":
        lines = [json.dumps({"user": user, "item": item, "time": time}) for user, item, time in rows]
    else:
        mark = "," if suffix == "csv" else "\t"
        lines = [mark.join(map(str, row)) for row in [("user", "item", "time"), *rows]]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_files_of_every_kind_are_read_alike(tmp_path, suffix):
    log = InteractionFile(path=write(tmp_path, suffix), time="time").read()
    named = {(log.user_names[u], log.item_names[i], t) for u, i, t in zip(log.users, log.items, log.times, strict=True)}
    assert named == set(ROWS)
    assert log.user_names == ("ann", "bob", "cid")


def test_citeulike_is_read_and_its_numbers_are_in_the_order_of_numbers(tmp_path):
    path = tmp_path / "users.dat"
    path.write_text("3 10 2 9\n0\n1 2\n")
    log = CiteULike(path=str(path)).read()
    assert log.item_names == ("2", "9", "10")
    assert [(log.user_names[u], log.item_names[i]) for u, i in zip(log.users, log.items, strict=True)] == [
        ("0", "10"),
        ("0", "2"),
        ("0", "9"),
        ("2", "2"),
    ]


def test_of_equal_pairs_the_earliest_is_kept_and_the_others_are_counted(tmp_path):
    path = write(tmp_path, "csv", [("ann", "a", 5), ("ann", "a", 2), ("ann", "b", 3), ("ann", "b", 3)])
    log = InteractionFile(path=path, time="time").read()
    assert log.times.tolist() == [2, 3]
    assert log.repeated == 2


def test_dates_are_in_the_order_of_time(tmp_path):
    rows = [("ann", "a", "2024-05-17T08:30:00"), ("ann", "b", "2024-05-17T09:00:00+02:00"), ("ann", "c", "2023-01-01")]
    log = in_time(InteractionFile(path=write(tmp_path, "csv", rows), time="time").read(), 0)
    assert [log.item_names[item] for item in log.items] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,item,time\nann,a,1\nann\n", "line 3: no 'item' there"),
        ("user,item,time\nann,a,soon\n", "line 2: 'time' is 'soon', neither a number nor a date"),
        ("user,item,time\nann,a,nan\n", "line 2: 'time' is 'nan'"),
        ("user,item,time\n ,a,1\n", "line 2: 'user' is empty"),
        ("user,item,time\nann,a,1,9\n", "line 2 has 4 fields and the header 3"),
        ("user,item,time\n", "has no interactions"),
        ("", "has no interactions"),
    ],
)
def test_a_file_that_does_not_parse_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        InteractionFile(path=str(path), time="time").read()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 5 6\n3 1 2\n", "line 2: the count is 3 and 2 items follow"),
        ("2 5 x\n", "line 1: not a count"),
        ("", "has no"),
    ],
)
def test_a_line_of_citeulike_that_does_not_parse_is_refused(tmp_path, text, said):
    path = tmp_path / "users.dat"
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        CiteULike(path=str(path)).read()


def random_log(folder, users=40, items=30, seed=0):
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        met = draw.permutation(items)[: draw.integers(1, 12)]
        rows += [(f"u{user}", f"i{item}", time) for time, item in enumerate(met)]
    return write(folder, "csv", [rows[place] for place in draw.permutation(len(rows))])


@pytest.mark.parametrize("split", [LeaveOneOut(), Fraction(0.3)])
@pytest.mark.parametrize("time", ["", "time"])
def test_a_split_loses_nothing_and_holds_the_last_out(tmp_path, split, time):
    log = in_time(InteractionFile(path=random_log(tmp_path), time=time).read(), split.seed)
    kept, out = hold_out(log, split)
    pairs = [set(zip(part.users.tolist(), part.items.tolist(), strict=True)) for part in (log, kept, out)]
    assert pairs[0] == pairs[1] | pairs[2]
    assert not pairs[1] & pairs[2]
    counts = np.bincount(log.users)
    wanted = (counts >= 2) if isinstance(split, LeaveOneOut) else np.floor(0.3 * counts + 1e-9)
    assert np.array_equal(np.bincount(out.users, minlength=40), wanted)
    if time:
        for user in range(40):
            late = out.times[out.users == user]
            assert late.min(initial=99) > kept.times[kept.users == user].max()


def test_without_times_the_seed_decides(tmp_path):
    path = random_log(tmp_path)

    def held_out(seed):
        return Interactions(source=InteractionFile(path=path), split=LeaveOneOut(seed), sampled=0).loaded().held_out

    assert np.array_equal(held_out(0).items, held_out(0).items)
    assert not np.array_equal(held_out(0).items, held_out(1).items)


def test_the_validation_leaves_the_test_unread(tmp_path):
    source = InteractionFile(path=random_log(tmp_path), time="time")
    test, validation = (Interactions(source=source, part=part).loaded() for part in ("test", "validation"))
    in_test = set(zip(test.held_out.users.tolist(), test.held_out.items.tolist(), strict=True))
    in_validation = set(zip(validation.held_out.users.tolist(), validation.held_out.items.tolist(), strict=True))
    trained = set(zip(validation.met.users.tolist(), validation.met.items.tolist(), strict=True))
    assert not in_test & (in_validation | trained)
    assert in_validation | trained == set(zip(test.met.users.tolist(), test.met.items.tolist(), strict=True))


def test_users_without_enough_items_are_trained_on_counted_and_told(tmp_path):
    spec = Interactions(source=InteractionFile(path=write(tmp_path, "csv"), time="time"), batch=2)
    assert "1 users left out for too few items" in spec.log_lines()[1]
    found = spec.loaded()
    assert found.met.counts.tolist() == [2, 1, 1]
    assert found.held_out.counts.tolist() == [1, 0, 1]


def test_negatives_are_unmet_uniform_and_do_not_depend_on_the_batch(tmp_path):
    spec = Interactions(source=InteractionFile(path=random_log(tmp_path)), negatives=7, batch=8)
    found = spec.loaded()
    rows = InteractionRows(found.met, 30, 7, found.user_names)
    everything = rows.take(np.arange(len(rows)), Epoch(3, 1))
    some = rows.take(np.array([5, 2]), Epoch(3, 1))
    assert all(np.array_equal(x, everything[name][[5, 2]]) for name, x in some.items())
    met = set(zip(found.met.users.tolist(), found.met.items.tolist(), strict=True))
    pairs = [
        (user, item) for user, row in zip(everything["user"], everything["negatives"], strict=True) for item in row
    ]
    assert not met & set(pairs)
    for epoch in (Epoch(3, 2), Epoch(4, 1), Epoch(3, 1, noise=4)):
        assert not np.array_equal(rows.take(np.arange(len(rows)), epoch)["negatives"], everything["negatives"])
    counts = np.bincount(
        draw_unmet(row_words(Epoch(0, 0), np.arange(4000), 5), np.zeros(4000, int), np.arange(10), 30)[:, 0]
    )
    assert counts[:10].sum() == 0
    assert np.abs(counts[10:] - 200).max() < 5 * np.sqrt(200)


def test_a_user_who_has_met_all_items_is_named(tmp_path):
    met = Histories(np.array([0, 1, 4]), np.array([1, 0, 1, 2], np.int32))
    with pytest.raises(BadInput, match="the user bob has met all 3 items in training"):
        InteractionRows(met, 3, 1, ("ann", "bob"))
    assert len(InteractionRows(met, 3, 0, ("ann", "bob"))) == 4


def test_batches_are_functions_of_seed_and_update_and_shards_are_parts_of_them(tmp_path):
    spec = Interactions(source=InteractionFile(path=random_log(tmp_path)), batch=8)
    whole, parts = spec.train(5)[31], [spec.train(5).shard(index, 2)[31] for index in range(2)]
    for name, x in whole.items():
        assert np.array_equal(x, spec.train(5)[31][name])
        assert np.array_equal(x[1::2], parts[1][name])
    assert not np.array_equal(whole["negatives"], spec.train(5, noise=6)[31]["negatives"])
    assert np.array_equal(whole["positives"], spec.train(5, noise=6)[31]["positives"])


def test_sampled_rows_have_the_item_first_and_distinct_unmet_others():
    met = Histories(np.array([0, 2, 3]), np.array([1, 4, 0], np.int32))
    held_out = Histories(np.array([0, 1, 2]), np.array([2, 9], np.int32))
    batch = SampledRows(met, held_out, 12, 9, ("ann", "bob")).take(np.arange(2), None)
    assert batch["items"][:, 0].tolist() == [2, 9]
    assert set(batch["items"][0].tolist()) == set(range(12)) - {1, 4}
    assert len(set(batch["items"][1].tolist())) == 10
    many = Histories(np.arange(41) * 5, np.tile(np.arange(0, 1000, 200), 40).astype(np.int32))
    last = Histories(np.arange(41), np.full(40, 999, np.int32))
    rows = SampledRows(many, last, 1000, 994, tuple(map(str, range(40))))  # all that is left
    items = rows.take(np.arange(40), None)["items"]
    unmet = sorted(set(range(999)) - set(range(0, 1000, 200)))
    assert all(sorted(row[1:].tolist()) == unmet for row in items)
    assert len({tuple(row) for row in items.tolist()}) == 40
    np.testing.assert_array_equal(rows.take(np.array([7, 3]), None)["items"], items[[7, 3]])
    with pytest.raises(BadInput, match="the user ann has 9 items left to meet"):
        SampledRows(met, held_out, 12, 10, ("ann", "bob"))


def test_rows_are_filled_up_behind_the_last_items():
    met = Histories(np.array([0, 3, 3, 4]), np.array([5, 6, 7, 8], np.int32))
    assert met.padded(np.array([0, 1, 2]), 2).tolist() == [[6, 7], [-1, -1], [8, -1]]
    assert met.padded(np.array([0]), 4).tolist() == [[5, 6, 7, -1]]


def test_data_and_a_model_or_a_loss_of_other_sizes_or_rows_are_refused(tmp_path):
    spec = Interactions(source=InteractionFile(path=random_log(tmp_path)), batch=8)
    with pytest.raises(BadInput, match="40 users and the model 41: set --model.users 40"):
        spec.check(MatrixFactorization(users=41, items=30))
    with pytest.raises(BadInput, match="30 items and the model 31: set --model.items 30"):
        spec.check(TwoTower(items=31))
    with pytest.raises(BadInput, match="data.negatives is -1"):
        dataclasses.replace(spec, negatives=-1).check(MatrixFactorization(users=40, items=30))
    with pytest.raises(BadInput, match="set --data.rows pairs"):
        Recommendation(objective="bpr").check(dataclasses.replace(spec, rows="users"))
    with pytest.raises(BadInput, match="set --data.rows users"):
        NextItem().check(spec)
    with pytest.raises(BadInput, match="set --data.rows users"):
        Recommendation(objective="bpr")(TwoTower(items=30))


def test_a_split_that_leaves_nothing_is_refused(tmp_path):
    source = InteractionFile(path=write(tmp_path, "csv", [("ann", item, 1) for item in "abc"]))
    with pytest.raises(BadInput, match="leaves nothing to evaluate on"):
        Interactions(source=source, split=Fraction(0.1)).loaded()
    with pytest.raises(BadInput, match="data.split.share is 1"):
        Interactions(source=source, split=Fraction(1.0)).loaded()


def test_who_has_met_all_but_what_is_held_out_is_given_that_as_negatives(tmp_path):
    source = InteractionFile(path=write(tmp_path, "csv", [("ann", item, 1) for item in "abc"]))
    spec = Interactions(source=source, batch=2)
    assert (spec.train()[0]["negatives"] == spec.loaded().held_out.items[0]).all()


@pytest.mark.skipif("JAXLM_TEST_DATA" not in os.environ, reason="JAXLM_TEST_DATA is not set: no CiteULike-a here")
def test_the_whole_of_citeulike_is_read():
    path = Path(os.environ["JAXLM_TEST_DATA"]) / "citeulike_a" / "users.dat"
    log = CiteULike(path=str(path)).read()
    assert (len(log.user_names), len(log.item_names), len(log.users)) == (5551, 16980, 204986 - log.repeated)
