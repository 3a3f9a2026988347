"""Tables become arrays by what was fitted on the training rows, to the bit in whatever form they come."""

import json

import numpy as np
import pytest
from sklearn.preprocessing import QuantileTransformer

from jaxlm.data.tables import ClassTable, RegressionTable
from jaxlm.data.tables.columns import MISSING, NAMED, UNKNOWN, CategoryColumn, DateColumn, fit_column, fit_number
from jaxlm.data.tables.frames import read_frame, to_cell
from jaxlm.data.tables.neighbours import Neighbours, fit_neighbours
from jaxlm.data.tables.schema import fit_schema, parse_schema
from jaxlm.data.tables.table import table_fold
from jaxlm.data.tables.targets import fit_class_target, fit_number_target
from jaxlm.errors import BadInput
from shrunk_tables import house_frame, houses, people

LIMITS = {"strip": "", "least": 1, "most": 1000}


def cells_of(*values):
    cells = np.empty(len(values), object)
    cells[:] = [to_cell(value, "here", ("",)) for value in values]
    return cells


def places(count):
    return [f"row {number}" for number in range(count)]


def fitted(values, scale="standard", category=False, **limits):
    return fit_column("x", cells_of(*values), places(len(values)), scale, category, **(LIMITS | limits))


def encoded(column, *values):
    return column.encode(cells_of(*values), places(len(values)))


def table(tmp_path, text, name="train.csv"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


@pytest.fixture
def housing(tmp_path):
    return RegressionTable(
        train_file=table(tmp_path, houses(60)),
        folds=3,
        target="median_house_value",
        scale="quantile",
        scale_target="log",
        neighbours=(Neighbours(("longitude", "latitude"), count=4),),
        batch=8,
    )


def test_a_scaling_is_stored_and_applied_again_to_the_bit(housing):
    found = housing.loaded()
    again = parse_schema(found.schema.to_json(), "columns.json")
    assert again == found.schema
    for part, own in ((found.train, True), (found.eval, False)):
        for name, values in again.encode(part.cells, part.places, own=own).arrays.items():
            assert values.tobytes() == part.arrays[name].tobytes()
    with pytest.raises(BadInput, match="columns.json is damaged: copy it"):
        parse_schema(found.schema.to_json()[:-9], "columns.json")
    with pytest.raises(BadInput, match="columns.json is damaged: copy it"):
        parse_schema(json.dumps({"columns": [{"kind": "number"}]}), "columns.json")


def test_csv_parquet_and_json_lines_give_the_same_bits(housing, tmp_path):
    frame = house_frame(60)
    frame.to_parquet(tmp_path / "train.parquet")
    frame.to_json(tmp_path / "train.jsonl", orient="records", lines=True, double_precision=15)
    expected = housing.loaded().eval.arrays
    for name in ("train.parquet", "train.jsonl"):
        other = RegressionTable(**{**vars(housing), "train_file": str(tmp_path / name)}).loaded().eval.arrays
        assert {key: x.tobytes() for key, x in other.items()} == {key: x.tobytes() for key, x in expected.items()}


def test_standard_numbers_have_mean_0_and_deviation_1_and_missing_ones_a_flag():
    column = fitted([1, 2.5, None, -4, "1e2"])
    values = encoded(column, 1, 2.5, None, -4, 100).values
    known = np.array([1, 2.5, -4, 100])
    np.testing.assert_allclose(values[[0, 1, 3, 4], 0], (known - known.mean()) / known.std(), rtol=1e-12)
    assert values[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert values[2, 0] == (np.median(known) - known.mean()) / known.std()
    whole = fitted([1, 2, 3])
    filled = encoded(whole, None, 2)
    assert filled.values.shape == (2, 1)
    assert filled.flagged.tolist() == [True, False]
    assert filled.values[0] == filled.values[1]  # the median


def test_quantiles_become_those_of_the_normal_distribution_as_scikit_learns_do():
    x = np.random.default_rng(0).gamma(2, size=900)
    column = fit_number("x", x, "quantile")
    reference = QuantileTransformer(n_quantiles=900, output_distribution="normal").fit(x[:, None])
    inner = np.sort(x)[20:-20]
    np.testing.assert_allclose(column.scaled(inner), reference.transform(inner[:, None])[:, 0], atol=0.03)
    order = np.linspace(x.min() - 1, x.max() + 1, 3000)
    assert (np.diff(column.scaled(order)) >= 0).all()
    assert np.isfinite(column.scaled(np.array([-1e9, 1e9]))).all()
    ties = fit_number("x", np.array([0.0] * 90 + list(range(1, 11))), "quantile")
    assert ties.scaled(np.array([0.0]))[0] == pytest.approx(-0.1257, abs=1e-3)  # the quantile 0.45


def test_truth_values_dates_and_categories_are_found_by_their_cells():
    truth = fitted(["yes", "No", None, "yes"])
    assert truth.truth
    assert (
        encoded(truth, "YES", True, "no", 0).values[:, 0].tolist()
        == encoded(truth, 1, "t", "f", "n").values[:, 0].tolist()
    )
    with pytest.raises(BadInput, match="row 1: 'x' is 'maybe', not true or false"):
        encoded(truth, "yes", "maybe")
    dates = fitted(["2024-01-01", "2024-01-08T12:00", "2023-03-04 00:00:00+01:00"])
    assert isinstance(dates, DateColumn)
    values = encoded(dates, "2024-01-01", "2024-01-08", "2024-07-01", None).values
    np.testing.assert_allclose(values[0, 3:], values[1, 3:], atol=1e-9)  # a week later: the same day of the week
    np.testing.assert_allclose(values[:3, 1] ** 2 + values[:3, 2] ** 2, 1)
    assert values[3, 1:].tolist() == [0, 0, 0, 0]
    with pytest.raises(BadInput, match="row 0: 'x' is '2024-02-30', not a date"):
        encoded(dates, "2024-02-30")
    assert isinstance(fitted([1, 2, 3], category=True), CategoryColumn)


def test_an_unknown_category_is_never_another_one_and_is_counted():
    column = fitted(["a", "b", "b", None], least=2)
    assert column.names == ("b",)  # one row is too few for a name
    found = encoded(column, "b", "a", "new", None)
    assert found.values.tolist() == [NAMED, UNKNOWN, UNKNOWN, MISSING]
    assert found.flagged.tolist() == [False, True, True, False]
    with pytest.raises(BadInput, match="the column 'x' has 3 different values, the first that is not a number 'q'"):
        fitted(["1", "2", "q"], most=2)


def test_a_few_odd_cells_among_many_numbers_are_not_a_column_of_categories():
    numbers = [str(number / 7) for number in range(60)]
    with pytest.raises(BadInput, match="row 60: 'x' is 'many', and 60 of 61 cells of this column are numbers"):
        fitted([*numbers, "many"])
    assert isinstance(fitted([*numbers, "many"], category=True), CategoryColumn)
    assert isinstance(fitted([*numbers, *"abcdefgh"]), CategoryColumn)  # not so few
    assert isinstance(fitted([*"12345678" * 10, "9a"]), CategoryColumn)  # not so many


def test_columns_of_categories_share_one_table_without_meeting():
    cells = {"a": cells_of("u", "v", "u"), "b": cells_of("u", "w", "z"), "y": cells_of(1, 2, 3)}
    target = fit_number_target(cells["y"], places(3), "y", "standard")
    schema = fit_schema(cells, places(3), target, scale="standard", **LIMITS)
    assert schema.vocab == 4 + 5
    assert schema.encode(cells, places(3)).arrays["categories"].tolist() == [[2, 6], [3, 7], [2, 8]]


def test_a_neighbour_is_never_the_row_itself_and_the_mean_is_that_of_all_distances():
    random = np.random.default_rng(1)
    points, targets = random.normal(size=(40, 2)), random.normal(size=40)
    points[7:10], targets[7:10] = points[7], targets[7]  # equal rows
    cells = {name: cells_of(*points[:, axis].tolist()) for axis, name in enumerate(("p", "q"))}
    column = fit_neighbours(Neighbours(("p", "q"), count=3, weights=(2.0, 1.0)), cells, places(40), targets)
    scaled = (points - points.mean(0)) / points.std(0) * np.array([2.0, 1.0])
    distances = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1)
    found = column.encode(cells, places(40), own=True)
    np.fill_diagonal(distances, np.inf)
    for row in range(40):
        near = np.argsort(distances[row], kind="stable")[:3]
        shares = 1 / (distances[row, near] + 1e-2)
        assert found[row, 0] == pytest.approx(shares @ targets[near] / shares.sum(), rel=1e-9)
    changed = fit_neighbours(Neighbours(("p", "q"), count=3), cells, places(40), targets + 100 * (np.arange(40) == 5))
    same = fit_neighbours(Neighbours(("p", "q"), count=3), cells, places(40), targets)
    assert np.array_equal(changed.encode(cells, places(40), own=True)[5], same.encode(cells, places(40), own=True)[5])
    assert not np.array_equal(
        changed.encode(cells, places(40), own=False)[5], same.encode(cells, places(40), own=False)[5]
    )


def test_folds_hold_every_row_out_once_with_the_same_shares_of_each_class():
    strata = np.repeat([0, 1], [80, 20])
    held = [table_fold(100, strata, 5, fold) for fold in range(5)]
    assert sorted(np.concatenate([out for _, out in held]).tolist()) == list(range(100))
    assert all(strata[out].sum() == 4 and not set(kept) & set(out) for kept, out in held)
    for folds, fold, message in ((1, 0, "data.folds is 1: give 2 to 20"), (3, 3, "give a fold from 0 to 2")):
        with pytest.raises(BadInput, match=message):
            table_fold(100, strata, folds, fold)


def test_files_without_names_of_columns_are_read_by_options_of_the_spec(tmp_path):
    names = "age work weight school years married job kin race sex gain loss hours country income".split()
    (tmp_path / "train.data").write_text(people(60, "", 0) + "\n\n")
    (tmp_path / "eval.data").write_text("|a line to skip\n" + people(60, ".", 1))
    spec = ClassTable(
        train_file=str(tmp_path / "train.data"),
        eval_file=str(tmp_path / "eval.data"),
        eval_skip_rows=1,
        columns=tuple(names),
        target="income",
        missing=("?",),
        strip=".",
        batch=8,
    )
    found = spec.loaded()
    assert spec.names() == ("<=50K", ">50K")
    work = next(column for column in found.schema.columns if column.name == "work")
    assert work.names == ("Private", "State-gov")
    assert found.schema.constant == ("job", "kin", "race")
    assert "left out, as all training rows have the same: job, kin, race" in spec.log_lines()
    rows = [line.split(", ") for line in people(60, ".", 1).splitlines()]
    assert found.eval.arrays["label"].tolist() == [int(row[-1] == ">50K.") for row in rows]
    for skip, message in ((-1, "-1 rows of .* are to be skipped"), (999, "eval.data has no rows")):
        with pytest.raises(BadInput, match=message):
            ClassTable(**{**vars(spec), "eval_skip_rows": skip}).loaded()
    with pytest.raises(BadInput, match="eval.data line 1 has 1 of 15 cells"):
        ClassTable(**{**vars(spec), "eval_skip_rows": 0}).loaded()
    with pytest.raises(BadInput, match=r"eval.data line 2: 'income' is '[<>=]+50K.', which is not among the classes"):
        ClassTable(**{**vars(spec), "strip": ""}).loaded()


def test_crossed_columns_are_categories_of_their_cells_side_by_side(tmp_path):
    rows = ["a,b,y", "x.,1,3", "x,2,4", "w,1,5", ",2,6", "x,1,7", "x,1,8"]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "eval.csv").write_text("a,b,y\nx,1,3\nw,2,3\n,1,3\n")
    files = {"train_file": str(tmp_path / "train.csv"), "eval_file": str(tmp_path / "eval.csv"), "target": "y"}
    spec = RegressionTable(**files, crosses=("a x b",), min_count=2, strip=".")
    found = spec.loaded()
    assert found.schema.columns[-1].names == ("x x 1",)
    offset = found.schema.columns[0].size
    assert (found.train.arrays["categories"][:, 1] - offset).tolist() == [2, 0, 0, 1, 2, 2]
    assert (found.eval.arrays["categories"][:, 1] - offset).tolist() == [2, 0, 1]
    assert found.schema.names == ("a", "b")
    again = parse_schema(found.schema.to_json(), "columns.json")
    assert again == found.schema
    encoded = again.encode({"a": np.array(["x", "q"], object), "b": np.array(["1", "1"], object)}, ["1", "2"])
    assert encoded.unknown["a"].tolist() == [False, True]
    assert list(encoded.unknown) == ["a"]  # what is unknown is a cell, not a pair of them
    for crosses, message in (
        (("a x y",), "data.crosses has 'a x y', and 'y' is what is asked for: take it out"),
        (("a",), "data.crosses has 'a': name at least two columns, such as 'education x sex'"),
        (("a x c",), "train.csv has no column 'c'"),
    ):
        with pytest.raises(BadInput, match=message):
            RegressionTable(**files, crosses=crosses).loaded()


BROKEN = {
    "a,b,y\n1,2,3\n1,2\n": "train.csv line 3 has 2 of 3 cells, none for 'y': complete the row",
    "a,b,y\n1,2,3,4\n": "train.csv line 2 has 4 fields and the header 3",
    "a,b,y\n1,2,3\n2,3,many\n": "train.csv line 3: 'y' is 'many', not a number: correct it, or leave the row out",
    "a,b,y\n1,2,3\n2,3,\n": r"train.csv line 3: the target 'y' is missing \(1 such\)",
    "a,b,z\n1,2,3\n2,3,4\n": r"train.csv has no column 'y' \(it has a, b, z\)",
    "a,y\n1,3\n1,4\n": "no column beside 'y' that differs between rows",
    "a,y\n1,3\n2,3\n": "the target 'y' is 3 in every training row: there is nothing to learn",
    "a,y\n1,3\n2,1e999\n": "train.csv line 3: 'y' is '1e999', too large for a number",
    "a,y\n1e200,3\n2e200,4\n": "train.csv line 2: 'a' is '1e200', too large for a number",
    "a,y\n": "train.csv has no rows: add some",
    "a,a,y\n1,2,3\n": "train.csv line 1: two columns have the name 'a'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_table_is_one_line_with_its_place(tmp_path, text):
    path = table(tmp_path, text)
    with pytest.raises(BadInput, match=BROKEN[text]) as error:
        RegressionTable(train_file=path, eval_file=path, target="y", batch=1).loaded()
    assert "\n" not in str(error.value)


def test_other_bad_input_is_one_line(tmp_path):
    path = table(tmp_path, "a,y\n1,3\n2,-4\n3,5\n")
    for options, message in (
        ({"scale_target": "log"}, "line 3: the target 'y' is -4, which has no logarithm"),
        ({"drop": ("b",)}, "has no column 'b'"),
        ({"fold": 1}, "data.fold is 1 and data.folds 0"),
        ({"neighbours": (Neighbours(("b",)),)}, "data.neighbours has a count of 10: give 1 to 2"),
        ({"neighbours": (Neighbours(("b",), count=1),)}, "data.neighbours names 'b'"),
    ):
        with pytest.raises(BadInput, match=message):
            RegressionTable(train_file=path, eval_file=path, target="y", **options).loaded()
    path = table(tmp_path, "a,b,y\n1,,3\n2,,4\n3,,5\n", "none.csv")
    neighbours = (Neighbours(("b",), count=1),)
    with pytest.raises(BadInput, match="data.neighbours names 'b', which has no number in training"):
        RegressionTable(train_file=path, eval_file=path, target="y", neighbours=neighbours).loaded()
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(BadInput, match="x.parquet is not a Parquet file that pyarrow reads"):
        read_frame(tmp_path / "x.parquet")
    table(tmp_path, '{"a": 1, "y": 2}\n{"b": 1, "y": 2}\n', "x.jsonl")
    with pytest.raises(BadInput, match="x.jsonl line 1 has 2 of 3 cells, none for 'b': complete the row"):
        read_frame(tmp_path / "x.jsonl")
    with pytest.raises(BadInput, match="there is no file"):
        read_frame(tmp_path / "gone.parquet")
    with pytest.raises(BadInput, match="the target 'y' is 'a' in every training row"):
        fit_class_target(cells_of("a", "a"), places(2), "y", "")
