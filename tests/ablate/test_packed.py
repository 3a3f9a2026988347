"""Cells that share a program: the table has the bytes of the one made alone, or says that its runs have not."""

import dataclasses
import json
import os
import signal
from types import SimpleNamespace

import jax
import pytest
from ablations import CONFIG, EXPERIMENT, command, jaxlm, records, tables

from jaxlm.ablate import packing, unit
from jaxlm.ablate.packing import Choice, Trial, choose, free_memory
from jaxlm.ablate.unit import parts_of, units
from jaxlm.errors import BadInput
from jaxlm.models.cnn import CNN
from jaxlm.train import train
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.config import load, load_module
from jaxlm.train.program import sharing
from jaxlm.train.run_directory import RunDirectory

BUILD = load_module(EXPERIMENT).build


@pytest.fixture
def base(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    return load(tmp_path / "config.py")


def seeds(config, count):
    return [dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed)) for seed in range(count)]


def test_a_packed_table_has_the_bytes_of_the_one_made_alone(made, config, tmp_path):
    code, out, err = jaxlm(*command(config, tmp_path / "packed", "--packing", "mapped"))
    assert (code, err) == (0, "")
    assert "9 cells share a program: mapped, 8 runs in a program dealt out over 4 devices, of about" in out
    assert tables(tmp_path / "packed") == tables(made[0])
    alone = records(made[0])
    for key, record in records(tmp_path / "packed").items():
        assert record == alone[key]


@pytest.mark.slow
def test_a_pack_that_is_not_exact_after_all_is_trained_anew_alone(made, config, tmp_path, monkeypatch):
    monkeypatch.setattr(unit, "is_exact", lambda build, cell, folder: False)
    code, out, err = jaxlm(*command(config, tmp_path / "packed", "--packing", "mapped"))
    assert (code, err) == (0, "")
    assert "a run of the pack has other bits than alone: its cells are trained anew" in out
    assert tables(tmp_path / "packed") == tables(made[0])


def test_a_run_is_compared_with_itself_alone(made, base):
    folder = next(made[0].glob("cells/base-seed5-*/"))
    cell = FakeCell(dataclasses.replace(base, run=dataclasses.replace(base.run, seed=5)))
    assert unit.is_exact(BUILD, cell, folder)
    other = FakeCell(dataclasses.replace(base, optim=dataclasses.replace(base.optim, peak=1.001e-2)))
    assert not unit.is_exact(BUILD, other, folder)
    assert not list(folder.parent.glob(".again-*"))


@pytest.mark.slow
def test_a_signal_while_a_pack_is_proved_keeps_its_runs_and_stops(made, config, tmp_path, monkeypatch):
    """All runs of the pack have ended, and one is trained again alone when the signal comes."""
    words = command(config, tmp_path / "packed", "--packing", "mapped", "--seeds", "2")
    append = RunDirectory.append_metrics

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == 7 and self.path.parent.name.startswith(".again-"):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append_metrics", signalled)
        code, out, _ = jaxlm(*words)
    assert code == 130
    assert "stopped: the same command goes on" in out
    cells = tmp_path / "packed" / "cells"
    assert not records(tmp_path / "packed")
    assert not list(cells.glob(".again-*"))
    ended = [Checkpoints(folder / "checkpoints").steps()[-1:] for folder in cells.iterdir() if folder.is_dir()]
    assert sorted(ended) == [[], [12], [12], [12]]  # one has diverged, and two are of a pack of their own
    code, out, err = jaxlm(*words)
    assert (code, err) == (0, "")
    assert "trained anew" not in out
    assert records(tmp_path / "packed").items() <= records(made[0]).items()


def test_runs_alone_compile_nothing_that_a_trial_has_compiled(base, tmp_path):
    compiled = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    first, second = seeds(base, 2)
    second = dataclasses.replace(second, optim=dataclasses.replace(second.optim, peak=3e-3))
    shared = sharing(BUILD, BUILD(first, first.place.build()))
    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    Trial(shared, [first, second]).seconds_alone()
    assert len(compiled) >= 2  # initialisation and step
    compiled.clear()
    train(shared, first, tmp_path / "first")
    assert len(compiled) == 1  # evaluation
    train(shared, second, tmp_path / "second")
    assert len(compiled) == 1


def test_parts_of_a_pack_deal_out_evenly():
    def widths(cells, width, devices):
        choice = Choice(SimpleNamespace(devices=devices), width, 0, 0.0, "")
        return [len(part) for part in parts_of([None] * cells, choice)]

    assert widths(9, 8, 4) == [8, 1]
    assert widths(15, 8, 4) == [8, 4, 3]
    assert widths(32, 32, 4) == [32]
    assert widths(5, 2, 1) == [2, 2, 1]


@pytest.mark.slow
def test_auto_takes_an_exact_packing_or_none_and_vmapped_says_what_it_is(made, config, tmp_path):
    code, _, err = jaxlm(*command(config, tmp_path / "auto", "--packing", "auto"))
    assert (code, err) == (0, "")
    assert tables(tmp_path / "auto") == tables(made[0])
    code, out, err = jaxlm(*command(config, tmp_path / "vmapped", "--packing", "vmapped"))
    assert (code, err) == (0, "")
    assert "Runs were vmapped: they have not the bits of runs alone." in out
    table = json.loads((tmp_path / "vmapped" / "table.json").read_text())
    assert table["packing"] == "vmapped"
    assert not {record["identity"] for record in records(tmp_path / "vmapped").values()} & {
        record["identity"] for record in records(made[0]).values()
    }


def test_an_exact_packing_that_is_not_exact_is_refused(base, monkeypatch):
    monkeypatch.setattr(Trial, "deviation", lambda trial, program, width: 3e-7)
    with pytest.raises(BadInput, match="--packing mapped: its runs differ from runs alone, here by 3e-07 in a few"):
        choose(BUILD, seeds(base, 2), "mapped")


def test_auto_runs_alone_what_is_slow_or_never_exact(base, monkeypatch):
    monkeypatch.setattr(Trial, "seconds_alone", lambda trial: 1.0)
    found = choose(BUILD, seeds(base, 2), "auto")
    assert (found.program, found.width) == (None, 1)
    assert "packing has little to gain" in found.told
    monkeypatch.setattr(Trial, "seconds_alone", lambda trial: 1e-3)
    monkeypatch.setattr(Trial, "deviation", lambda trial, program, width: 3e-7)
    found = choose(BUILD, seeds(base, 2), "auto")
    assert found.program is None
    assert "mapped is not exact, unrolled is not exact" in found.told


@pytest.mark.slow
def test_a_trial_sees_other_bits(base):
    """On a CPU convolutions leave their fast path inside a loop, so a mapped CNN has other bits."""
    config = dataclasses.replace(base, model=CNN(classes=10, widths=(4, 8), hidden=8))
    trial = Trial(BUILD, seeds(config, 2))
    assert trial.of("mapped").deviation > 0
    assert trial.of("unrolled").deviation == 0


def test_a_pack_is_no_wider_than_the_memory(base, monkeypatch):
    trial = Trial(BUILD, seeds(base, 4))
    monkeypatch.setattr(Trial, "deviation", lambda trial, program, width: 0.0)
    monkeypatch.setattr(packing, "free_memory", lambda: 2.5 * trial.bytes_each / packing.SHARE)
    assert trial.on("mapped", 1).width == 2
    monkeypatch.setattr(packing, "free_memory", lambda: 0)
    assert trial.on("mapped", 1).width == 1
    assert free_memory() > 1e6


class FakeCell:
    def __init__(self, config, packing="auto", program="one"):
        self.config, self.packing, self.program = config, packing, program


def test_units_are_cells_of_one_program_dealt_out(base):
    same = [FakeCell(config) for config in seeds(base, 5)]
    wide, refused = FakeCell(base, program="another"), FakeCell(base, program=None)
    assert units([*same, wide, refused], 1) == [same, [wide], [refused]]
    assert units([*same, wide], 2) == [same[::2], same[1::2], [wide]]
    apart = [FakeCell(config, "alone") for config in seeds(base, 3)]
    assert units(apart, 1) == [apart]
    assert units(apart, 2) == [[cell] for cell in apart]
