"""The record of a cell: what is read from a run, and that only a whole one counts."""

from dataclasses import replace

import pytest

from jaxlm.ablate.cell import Cell
from jaxlm.ablate.record import RECORD, curves, final_points, finals, read_record, value_of, write_record
from jaxlm.runs.directory import RunDirectory
from jaxlm.train import Config, Run

CELL = Cell("slow", 3, Config(model=None, data=None, optim=None), {"packing": "exact"})


@pytest.fixture
def home(tmp_path):
    """The metrics of a run whose loss is not finite in the end."""
    home = RunDirectory(tmp_path)
    for step, loss in ((2, 1.5), (4, 1.0), (6, 2.0), (8, float("nan"))):
        home.append_metrics(step, {"eval/loss": loss, "time/step": 0.1})
        home.append_metrics(step, {"eval/accuracy": step / 10})
    return home


def test_curves_hold_all_but_times_and_the_last_value_counts_even_where_it_is_not_finite(home):
    assert curves(home) == {
        "eval/loss": [[2, 1.5], [4, 1.0], [6, 2.0], [8, None]],
        "eval/accuracy": [[2, 0.2], [4, 0.4], [6, 0.6], [8, 0.8]],
    }
    assert finals(home, Run()) == {"eval/loss": None, "eval/accuracy": 0.8}
    assert finals(home, Run(patience=2)) == {"eval/loss": 1.0, "eval/accuracy": 0.4}
    assert final_points(home, Run(patience=2))["eval/accuracy"] == [4, 0.4]
    assert finals(home, Run(patience=2, maximize=True)) == {"eval/loss": 2.0, "eval/accuracy": 0.6}


def test_a_cell_without_a_number_tells_why(home):
    record = write_record(home.path, CELL, None)
    assert value_of(record, "eval/accuracy") == (0.8, None)
    assert value_of(record, "eval/loss") == (None, "eval/loss is not finite")
    assert value_of(record, "eval/beauty") == (None, "the run reports no eval/beauty")
    assert value_of(write_record(home.path, CELL, "it broke"), "eval/accuracy") == (None, "it broke")


def test_only_a_whole_record_of_the_same_identity_counts(home):
    assert read_record(home.path, CELL) is None
    written = write_record(home.path, CELL, None)
    assert read_record(home.path, CELL) == written
    assert read_record(home.path, replace(CELL, parts={"packing": "vmapped"})) is None
    text = (home.path / RECORD).read_text()
    for broken in (text.replace("0.8", "0.9"), text[:-40], "", "[]", '{"seal": 1}'):
        (home.path / RECORD).write_text(broken)
        assert read_record(home.path, CELL) is None
    assert sorted(path.name for path in home.path.iterdir()) == [RECORD, "metrics.jsonl"]
