"""Cells that share a program: the table has the bytes of the one made alone, or says that its runs have not."""

import dataclasses
import json

import pytest
from ablations import CONFIG, EXPERIMENT, command, jaxlm, records, tables

from jaxlm.ablate import packing, unit
from jaxlm.ablate.packing import Trial, choose, free_memory
from jaxlm.ablate.unit import units
from jaxlm.errors import BadInput
from jaxlm.models.cnn import CNN
from jaxlm.train.config import load, load_module

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
