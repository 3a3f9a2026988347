"""Runs on tables from the command line: predict from files of every form, permute columns, folds, placements."""

import io
import json
import sys

import numpy as np
import pytest

import jaxlm as package
from digit_runs import jaxlm, refused
from evaluated import evaluated_logits, predicted_logits
from jaxlm.data.tables.frames import read_frame
from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory
from shrunk_tables import HOUSE, house_frame, houses, people, table_words
from test_resume import records
from whole_path import ROOT, run_main

HOUSING = ("tabular_regression.py", ROOT / "configs" / "mlp_housing.py")
ADULT = ("tabular_classification.py", ROOT / "configs" / "mlp_adult.py")


def train(folder, experiment, config, *words):
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrunk = table_words(config.stem, folder)
        run_main(monkeypatch, experiment, config, *shrunk, *words, "--run.directory", str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("houses"), *HOUSING)


@pytest.fixture(scope="module")
def incomes(tmp_path_factory):
    return train(tmp_path_factory.mktemp("incomes"), *ADULT)


def held_out(run):
    """The rows of the evaluation, as objects of cells."""
    part = RunDirectory(run).config().data.loaded().eval
    return [{name: cells[row] for name, cells in part.cells.items()} for row in range(len(part.places))]


@pytest.mark.parametrize("name", ["run", "incomes"])
def test_a_prediction_has_the_bits_of_the_evaluation(name, request):
    directory = request.getfixturevalue(name)
    expected = np.stack(list(evaluated_logits(directory, 20)))
    assert np.array_equal(np.stack(predicted_logits(directory, held_out(directory))), expected)


def test_a_value_is_in_the_units_of_the_target(run):
    config = RunDirectory(run).config()
    target, rows = config.data.number(), held_out(run)
    logits = np.stack(list(evaluated_logits(run, 20)))[:, 0]
    values = [answer["value"] for answer in package.load(run)(rows)]
    np.testing.assert_allclose(values, np.exp(target.shift + target.scale * logits.astype(float)), rtol=1e-12)
    truth = np.array([float(row["median_house_value"]) for row in rows])
    recorded = [one["eval/mae"] for one in RunDirectory(run).metrics() if "eval/mae" in one][-1]
    assert np.abs(values - truth).mean() == pytest.approx(recorded, rel=1e-5)


def test_csv_parquet_json_lines_and_the_standard_input_have_the_same_answers(run, tmp_path, monkeypatch):
    (tmp_path / "some.csv").write_text(houses(9))
    frame = house_frame(9)
    frame.to_parquet(tmp_path / "some.parquet")
    frame.to_json(tmp_path / "some.jsonl", orient="records", lines=True, double_precision=15)
    found = []
    for name in ("some.csv", "some.parquet", "some.jsonl"):
        code, out, err = jaxlm("predict", run, tmp_path / name, "--json")
        assert code == 0, err
        assert err == f"{tmp_path / name}: columns that this run does not read: median_house_value\n"
        found.append(out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "some.jsonl").read_bytes())))
    found.append(jaxlm("predict", run, "-", "--json")[1])
    assert len(found[0].splitlines()) == 9
    assert found == [found[0]] * 4
    first = (tmp_path / "some.jsonl").read_text().splitlines()[0]
    value = json.loads(found[0].splitlines()[0])["value"]
    alone = json.loads(jaxlm("predict", run, first, "--json")[1])  # in a batch of one
    assert alone == {"value": pytest.approx(value, rel=1e-6)}
    assert jaxlm("predict", run, "--file", tmp_path / "some.csv")[1].splitlines()[0].split()[-1] == f"{value:.6g}"


def test_what_was_not_in_training_is_counted_and_what_cannot_be_read_is_named(run, tmp_path):
    rows = [HOUSE, {**HOUSE, "ocean_proximity": "MOON", "total_rooms": None}, {**HOUSE, "ocean_proximity": "MARS"}]
    plain, moon, mars = package.load(run)(rows)
    assert plain.keys() == {"value"}
    assert (moon["unknown"], moon["filled"], mars["unknown"]) == (
        ["ocean_proximity"],
        ["total_rooms"],
        ["ocean_proximity"],
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = jaxlm("predict", run, tmp_path / "rows.jsonl")[2]
    assert "ocean_proximity: 2 of 3 rows with a category unknown in training" in told
    assert "total_rooms: 1 of 3 rows filled with the median of training" in told
    lacking = {name: cell for name, cell in HOUSE.items() if name != "latitude"}
    with pytest.raises(BadInput, match=r"input 1: the row has no 'latitude': give the column.*input 2: a row is a str"):
        package.load(run)([HOUSE, lacking, "x"])
    with pytest.raises(BadInput, match="input 0: the row: 'latitude' is 'north', not a number"):
        package.load(run)([{**HOUSE, "latitude": "north"}])
    (tmp_path / "lacking.csv").write_text("longitude,latitude\n1,2\n")
    assert "has no column 'housing_median_age', 'total_rooms'" in refused("predict", run, tmp_path / "lacking.csv")
    (tmp_path / "ragged.csv").write_text(houses(3) + "1,2,3\n")
    assert "ragged.csv line 5 has 3 of 10 cells" in refused("predict", run, tmp_path / "ragged.csv")
    assert "--column is for texts" in refused("predict", run, "--file", tmp_path / "rows.jsonl", "--column", "x")
    (tmp_path / "bad.csv").write_text(houses(3).replace("-1", "west-1", 1))
    code, out, err = jaxlm("predict", run, tmp_path / "bad.csv", "--skip-broken")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "bad.csv line 2: the row: 'longitude' is 'west-1" in err


def test_files_of_classes_are_predicted_with_and_without_names_of_columns(incomes, tmp_path):
    (tmp_path / "bare.csv").write_text("|skipped\n" + people(6, ".", 5))
    names = RunDirectory(incomes).config().data.columns
    (tmp_path / "named.csv").write_text(",".join(names) + "\n" + people(6, ".", 5))
    bare = jaxlm("predict", incomes, tmp_path / "bare.csv", "--skip-rows", 1, "--json")
    named = jaxlm("predict", incomes, tmp_path / "named.csv", "--json")
    assert bare[0] == named[0] == 0, bare[2] + named[2]
    assert bare[1] == named[1]
    answers = [json.loads(line) for line in bare[1].splitlines()]
    assert all(answer["probabilities"].keys() == {"<=50K", ">50K"} for answer in answers)
    assert jaxlm("predict", incomes, tmp_path / "named.csv", "--proba")[0] == 0
    assert "bare.csv line 1 has 1 of 15 cells" in refused("predict", incomes, tmp_path / "bare.csv")


def test_a_column_that_a_model_relies_on_costs_most_where_it_is_permuted(tmp_path):
    lines = [f"{x},{(x * 7919) % 97},{3 * x}" for x in range(80)]
    (tmp_path / "line.csv").write_text("x,noise,y\n" + "\n".join(lines) + "\n")
    config = tmp_path / "config.py"
    config.write_text(
        (ROOT / "configs" / "mlp_housing.py").read_text().split("from jaxlm")[0]
        + "from jaxlm.data.tables import RegressionTable\nfrom jaxlm.losses import Regression\n"
        "from jaxlm.models.table_mlp import TableMLP\nfrom jaxlm.nn.feature_tokens import FeatureTokens\n"
        "from jaxlm.optim import AdamW\nfrom jaxlm.train import Config, Run\n"
        "config = Config(model=TableMLP(FeatureTokens(kind='none'), hidden=(16,)), loss=Regression(),\n"
        f"    data=RegressionTable(train_file='{tmp_path}/line.csv', folds=4, target='y', batch=20),\n"
        "    optim=AdamW(peak_lr=2e-2), run=Run(steps=150, metric='eval/r2'))\n"
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "tabular_regression.py", config, "--run.directory", str(tmp_path / "run"))
    code, out, err = jaxlm("importance", tmp_path / "run", "--repeats", 3)
    assert code == 0, err
    head, _, first, second = (line.split() for line in out.splitlines())
    assert float(head[1]) > 0.9
    assert (first[0], second[0]) == ("x", "noise")
    assert float(first[1]) < -0.5
    assert abs(float(second[1])) < 0.2
    assert out == jaxlm("importance", tmp_path / "run", "--repeats", 3)[1]
    assert "the run has no metric eval/beauty" in refused("importance", tmp_path / "run", "--metric", "eval/beauty")
    assert "--repeats is 0" in refused("importance", tmp_path / "run", "--repeats", 0)


@pytest.mark.slow
def test_every_placement_trains_and_measures_alike(tmp_path):
    for experiment, config in (HOUSING, ADULT):
        found = []
        for words in ([], ["--place.kind", "pmap"], ["--place.kind", "mesh"], ["--run.accumulate", "2"]):
            folder = tmp_path / f"{config.stem}-{len(found)}"
            folder.mkdir()
            home = train(folder, experiment, config, *words, "--model.dropout", "0")  # every device draws its own
            found.append([{k: x for k, x in one.items() if "/" in k and "grad" not in k} for one in records(home)])
        for other in found[1:]:
            for one, expected in zip(other, found[0], strict=True):
                assert one == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_folds_scale_by_their_own_training_rows(tmp_path):
    words = table_words("mlp_housing", tmp_path)
    code, _, err = jaxlm(
        "crossval",
        ROOT / "experiments" / HOUSING[0],
        HOUSING[1],
        "--directory",
        tmp_path / "folds",
        "--folds",
        3,
        *words,
    )
    assert code == 0, err
    record = json.loads((tmp_path / "folds" / "crossval.json").read_text())
    assert (record["metric"], len(record["values"])) == ("eval/r2", 3)
    kept = {(tmp_path / "folds" / f"fold-{fold}" / "columns.json").read_text() for fold in range(3)}
    assert len(kept) == 3
    assert len(read_frame(tmp_path / "housing.csv")) == 80
