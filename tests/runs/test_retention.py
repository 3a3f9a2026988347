"""Retention: nothing is deleted that whole checkpoints do not replace, and nothing that fails in it costs a save."""

import json
import logging
import math
import shutil
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.runs import checkpoint, seal
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.seal import SEAL, make_checkpointer, read_seal


def state(step):
    return {"params": {"w": jnp.arange(4.0) + step}}


def save(checkpoints, *steps, losses=()):
    for step, loss in zip(steps, losses or [0.0] * len(steps), strict=True):
        checkpoints.save(step, state(step), {"eval/loss": loss})
        checkpoints.wait()
    return checkpoints


def assert_whole(checkpoints, step):
    np.testing.assert_array_equal(checkpoints.restore_raw(step)["params"]["w"], state(step)["params"]["w"])


def cut(seal):
    seal.write_bytes(seal.read_bytes()[:100])


def flip(seal):
    text = seal.read_bytes()
    seal.write_bytes(text.replace(b"float32[4]", b"float32[5]"))


DAMAGES = {
    "cut": cut,
    "flip": flip,
    "list": lambda seal: seal.write_text("[]"),
    "null": lambda seal: seal.write_text("null"),
    "object": lambda seal: seal.write_text("{}"),
    "deep": lambda seal: seal.write_text("[" * 100_000),
    "binary": lambda seal: seal.write_bytes(b"\xff" * 9),
    "missing": lambda seal: seal.unlink(),
    "folder": lambda seal: (seal.unlink(), seal.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_older_seal_costs_no_save_and_no_good_checkpoint(tmp_path, damage):
    told = []
    checkpoints = save(Checkpoints(tmp_path, say=told.append), 1, 2)
    damage(tmp_path / "1" / SEAL)
    save(checkpoints, 3, 4)
    assert checkpoints.steps() == [1, 3, 4]
    for step in (3, 4):
        assert_whole(checkpoints, step)
    assert checkpoints.newest_whole() == 4
    assert told == []
    with pytest.raises(BadInput, match="^checkpoint [^\n]*1 is damaged [^\n]*$"):
        checkpoints.restore_raw(1)


def test_damaged_checkpoints_do_not_count_as_kept(tmp_path):
    """Checkpoints 5 and 6 damaged and 4 whole: a save at an earlier update keeps 4."""
    checkpoints = save(Checkpoints(tmp_path, say=lambda text: None), 4, 5)
    checkpoints = save(Checkpoints(tmp_path, keep_last=3, say=lambda text: None), 6)
    for step in (5, 6):
        next(path for path in (tmp_path / str(step) / "d").iterdir()).write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, keep_last=2, say=lambda text: None)
    assert checkpoints.newest_whole() == 4
    save(checkpoints, 3)
    assert checkpoints.steps() == [3, 4, 5, 6]
    save(checkpoints, 5)  # trained again: whole now
    assert checkpoints.steps() == [4, 5, 6]
    assert checkpoints.newest_whole() == 5


@pytest.mark.parametrize("call", ["rename", "rmtree"])
def test_a_removal_that_fails_costs_no_save_and_is_said(tmp_path, monkeypatch, call):
    told = []
    checkpoints = save(Checkpoints(tmp_path, keep_last=1, say=told.append), 1)

    def busy(path, *arguments, **named):
        if call == "rmtree" or ".removed" in str(arguments[0]):
            if not named.get("ignore_errors"):
                raise OSError(16, "Device or resource busy", str(path))
            return None
        return rename(path, *arguments)

    rename = Path.rename
    monkeypatch.setattr(*((Path, "rename") if call == "rename" else (shutil, "rmtree")), busy)
    save(checkpoints, 2, 3)
    monkeypatch.undo()
    assert_whole(checkpoints, 3)
    if call == "rename":
        assert checkpoints.steps() == [1, 2, 3]
        assert told == [
            f"old checkpoints could not be removed: OSError: [Errno 16] Device or resource busy: '{tmp_path / '1'}'"
        ]
    else:
        assert checkpoints.steps() == [3]
        assert told == [f"{tmp_path / name} could not be removed" for name in ("1.removed", "2.removed")]
    save(checkpoints, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["4"]


def test_a_checkpoint_under_the_number_of_another_is_not_used(tmp_path):
    told = []
    checkpoints = save(Checkpoints(tmp_path, say=told.append), 1)
    shutil.copytree(tmp_path / "1", tmp_path / "7")
    assert checkpoints.newest_whole() == 1
    assert told == [f"checkpoint {tmp_path / '7'} is damaged ({SEAL} is of update 1): it is left out"]
    with pytest.raises(BadInput, match="is of update 1"):
        checkpoints.choose(7)


def test_a_checkpoint_that_changes_after_it_was_verified_is_found_out(tmp_path):
    checkpoints = save(Checkpoints(tmp_path), 1)
    assert_whole(checkpoints, 1)
    file = next(path for path in (tmp_path / "1" / "d").iterdir())
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(BadInput, match="has other bytes"):
        checkpoints.restore_raw(1)


def test_a_whole_checkpoint_is_digested_once(tmp_path, monkeypatch):
    save(Checkpoints(tmp_path), 1)
    calls = []
    monkeypatch.setattr(checkpoint, "find_damage", lambda path: calls.append(path))
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest_whole() == 1
    checkpoints.restore_raw(1)
    checkpoints.add_metrics(1, {"eval/loss": 2.0})
    save(checkpoints, 2)
    assert calls == [tmp_path / "1"]


@pytest.mark.parametrize("maximize", [False, True])
def test_what_is_not_finite_is_never_the_best(tmp_path, maximize):
    losses = [math.nan, math.inf, 2.0, -math.inf, 3.0, math.nan]
    checkpoints = save(Checkpoints(tmp_path, 1, 1, maximize=maximize), *range(6), losses=losses)
    best = 4 if maximize else 2
    assert checkpoints.steps() == [best, 5]
    assert checkpoints.best() == checkpoints.choose("best") == best
    assert checkpoints.choose() == 5
    assert json.loads((tmp_path / "5" / SEAL).read_text())["metrics"] == {"eval/loss": None}


def test_a_damaged_best_is_said_and_the_next_best_is_chosen(tmp_path):
    told = []
    checkpoints = save(Checkpoints(tmp_path, 1, 2, say=told.append), 1, 2, 3, losses=[1.0, 2.0, 3.0])
    cut(tmp_path / "1" / SEAL)
    assert checkpoints.choose("best") == 2
    assert f"checkpoint {tmp_path / '1'} is damaged" in told[0]


def test_without_a_value_of_the_metric_there_is_no_best(tmp_path):
    checkpoints = save(Checkpoints(tmp_path), 1, losses=[math.nan])
    with pytest.raises(BadInput, match="no checkpoint in [^\n]* has a finite eval/loss: choose one of 1"):
        checkpoints.choose("best")


def test_the_metrics_of_an_evaluation_after_the_save_are_added_to_the_seal(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1, 1)
    save(checkpoints, 1, losses=[2.0])
    checkpoints.save(2, state(2))
    checkpoints.add_metrics(2, {"eval/loss": 1.0})
    assert read_seal(tmp_path / "2")["metrics"] == {"eval/loss": 1.0}
    save(checkpoints, 3, losses=[3.0])
    assert checkpoints.steps() == [2, 3]
    for step in (2, 3):
        assert_whole(Checkpoints(tmp_path), step)


def test_a_save_into_a_folder_that_is_gone_makes_no_new_one(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    with pytest.raises(BadInput, match="^the checkpoint at update 1 could not be written [^\n]*FileNotFoundError"):
        checkpoints.save(1, state(1))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_moved_during_a_save_gets_no_checkpoint_in_its_old_place(tmp_path):
    checkpoints = save(Checkpoints(tmp_path / "checkpoints"), 1)
    orbax = checkpoints._orbax

    class Moves:
        """Orbax, which makes the folder again after a move."""

        def save(self, *arguments):
            orbax.save(*arguments)

        def wait_until_finished(self):
            orbax.wait_until_finished()
            checkpoints.directory.rename(tmp_path / "moved")
            shutil.copytree(tmp_path / "moved", checkpoints.directory)

    checkpoints._orbax = Moves()
    checkpoints.save(2, state(2))
    with pytest.raises(BadInput, match="update 2 could not be written [^\n]* was moved or removed during the save"):
        checkpoints.wait()
    assert not list(checkpoints.directory.glob("2*"))


def test_a_save_that_cannot_fit_fails_before_it_begins(tmp_path, monkeypatch):
    checkpoints = save(Checkpoints(tmp_path), 1)
    size = sum(path.stat().st_size for path in (tmp_path / "1").rglob("*") if path.is_file() and path.name != SEAL)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size - 1))
    with pytest.raises(
        BadInput, match="update 2 could not be written [^\n]*: the disk is full; [^\n]*update 1 is intact"
    ):
        checkpoints.save(2, state(2))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size))
    assert save(checkpoints, 2).steps() == [1, 2]


def test_what_orbax_leaves_behind_is_not_reported_and_all_else_is(monkeypatch, caplog):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    seal._leave_out_reports.cache_clear()
    make_checkpointer()
    found = [types.SimpleNamespace(exc_value=RuntimeError(text)) for text in ("Event loop is closed", "another")]
    for one in found:
        sys.unraisablehook(one)
    assert reported == found[1:]
    for text in ("Task of orbax/checkpoint was never retrieved", "another"):
        logging.getLogger("asyncio").error(text)
    assert [record.getMessage() for record in caplog.records] == ["another"]
