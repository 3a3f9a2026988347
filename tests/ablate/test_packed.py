"""Cells that share a program: the table has the bytes of the one made alone, or says that its runs have not."""

import dataclasses
import json

import jax
import pytest
from ablations import CONFIG, EXPERIMENT, command, jaxlm, records, tables

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.execute import runner
from jaxlm.ablate.execute.plan import group_cells
from jaxlm.runs.load import load_module
from jaxlm.train import train
from jaxlm.train.config import load_config
from jaxlm.train.packs.program import share_compilation

BUILD = load_module(EXPERIMENT).build
DEVICES = ("--packing", "devices", "--seeds", "2")


@pytest.fixture
def base(tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)
    return load_config(tmp_path / "config.py")


def seeds(config, count):
    return [dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed)) for seed in range(count)]


def test_a_table_of_one_run_a_device_has_the_bytes_of_the_one_made_one_after_another(made, config, tmp_path):
    code, out, err = jaxlm(*command(config, tmp_path / "devices", "--packing", "devices"))
    assert (code, err) == (0, "")
    assert out.count("\n4 cells together (") + out.startswith("4 cells together (") == 2
    assert "cell 9 of 9: too fast, seed 7" in out
    assert tables(tmp_path / "devices") == tables(made[0])
    assert records(tmp_path / "devices") == records(made[0])


def test_runs_of_one_program_are_compiled_once(base, tmp_path):
    compiled = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    first, second = seeds(base, 2)
    second = dataclasses.replace(second, optim=dataclasses.replace(second.optim, peak_lr=3e-3))
    shared = share_compilation(BUILD)
    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    train(shared, first, tmp_path / "first")
    assert len(compiled) >= 3  # initialisation, step and evaluation
    compiled.clear()
    train(shared, second, tmp_path / "second")
    assert compiled == []


def test_a_vmapped_table_says_what_it_is(made, config, tmp_path):
    code, out, err = jaxlm(*command(config, tmp_path / "vmapped", "--packing", "vmapped"))
    assert (code, err) == (0, "")
    assert out.startswith("9 cells together (0 done, 0 failed, 9 left)\n")
    assert "Runs were vmapped, several in one program: their last digits are not those of runs alone." in out
    table = json.loads((tmp_path / "vmapped" / "table.json").read_text())
    assert table["packing"] == "vmapped"
    alone, vmapped = records(made[0]), records(tmp_path / "vmapped")
    assert not {record["identity"] for record in vmapped.values()} & {record["identity"] for record in alone.values()}
    for key, record in vmapped.items():
        assert (record["failed"] is None) == (alone[key]["failed"] is None)


def test_cells_that_cannot_be_trained_together_are_trained_one_after_another(made, config, monkeypatch, tmp_path):
    def too_large(*_):
        raise MemoryError("9 runs do not fit")

    monkeypatch.setattr(runner, "train_pack", too_large)
    code, out, err = jaxlm(*command(config, tmp_path / "devices", *DEVICES))
    assert (code, err) == (0, "")
    assert "4 cells do not train together (MemoryError: 9 runs do not fit): one by one\n" in out
    assert records(tmp_path / "devices").items() <= records(made[0]).items()


def test_groups_are_cells_of_one_program_as_wide_as_their_packing(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)

    def cells(count, packing, program):
        return [Cell("arm", seed, None, {}, packing, program) for seed in range(count)]

    one, two, refused = cells(3, "shared", "one"), cells(2, "shared", "two"), cells(2, "shared", None)
    mixed = [one[0], two[0], refused[0], one[1], two[1], refused[1], one[2]]
    assert group_cells(mixed) == [[cell] for cell in [*one, *two, *refused]]
    for packing, count, workers, widths in (
        ("devices", 9, 1, [4, 4, 1]),
        ("vmapped", 40, 1, [32, 8]),
        ("vmapped", 9, 2, [5, 4]),
    ):
        assert [len(group) for group in group_cells(cells(count, packing, "one"), workers)] == widths
