"""`jaxlm new` writes two files that run at once on data of the user's own, whose runs every verb finds."""

import csv
import json

import pytest
from sklearn.datasets import load_iris

from test_list import jaxlm
from whole_path import TEXT, write_folder

WORDS = {"good": "great fine lovely superb".split(), "bad": "awful poor dull weak".split()}
ROWS = [(" ".join(WORDS[label][(i + k) % 4] for k in range(3)), label) for i in range(60) for label in WORDS]
SMALL = "--run.steps 20 --optim.warmup 2 --run.eval-every 10 --run.save-every 10 --run.directory run".split()
KINDS = {
    "csv": ("reviews.csv", ["--text", "review", "--label", "stars"], ["--model.encoder.width", "8"]),
    "jsonl": ("reviews.jsonl", [], ["--model.encoder.width", "8"]),
    "table": ("flowers.csv", ["--label", "species"], ["--model.hidden", "8"]),
    "images": ("digits", [], ["--model.widths", "4", "4", "4", "--model.hidden", "8", "--data.size", "16"]),
    "text": ("book.txt", [], ["--model.depth", "1", "--model.width", "16", "--model.heads", "2"]),
}


@pytest.fixture
def folder(tmp_path):
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "stars"), *ROWS])
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in ROWS))
    write_folder(tmp_path / "digits")
    with (tmp_path / "flowers.csv").open("w", newline="") as file:
        iris = load_iris()
        names = iris.target_names[iris.target]
        rows = [[*x, name] for x, name in zip(iris.data, names, strict=True)]
        csv.writer(file).writerows([("a", "b", "length", "d", "species"), *rows])
    (tmp_path / "book.txt").write_text(TEXT.read_text())
    return tmp_path


def lines(path):
    return len(path.read_text().splitlines())


@pytest.mark.parametrize(
    "kind", ["jsonl", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "jsonl")]
)
def test_what_is_written_trains_and_is_evaluated_from_elsewhere(folder, kind):
    data, options, words = KINDS[kind]
    made = jaxlm(folder, "new", "mine", "--data", kind, data, *options)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines()[-1] == "train it with: jaxlm train mine_config"
    assert max(lines(folder / "mine.py"), lines(folder / "mine_config.py")) <= 60
    trained = jaxlm(folder, "train", "mine_config", *SMALL, *words)
    assert trained.returncode == 0, trained.stderr
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    evaluated = jaxlm(elsewhere, "eval", "../run")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "(update 20)" in evaluated.stdout


@pytest.mark.parametrize(("column", "experiment"), [("species", "classification"), ("length", "regression")])
def test_a_column_of_many_numbers_is_a_regression_and_any_other_has_classes(folder, column, experiment):
    made = jaxlm(folder, "new", "mine", "--data", "table", "flowers.csv", "--label", column)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"begins as the experiment tabular_{experiment} of jaxlm" in (folder / "mine.py").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mine", "--data", "csv", "reviews.csv"), "reviews.csv has the columns review, stars: say which one to read"),
        (("mine", "--data", "csv", "gone.csv"), "there is no gone.csv"),
        (("mine", "--data", "sql", "reviews.csv"), "--data sql: there are csv, jsonl, table, images, text"),
        (("my-model", "--data", "text", "book.txt"), "'my-model' cannot be the name of a Python module"),
        (("random", "--data", "text", "book.txt"), "'random' cannot be the name of a Python module"),
        (("cnn_digits", "--data", "text", "book.txt"), "jaxlm has a cnn_digits already"),
        (("book", "--data", "text", "book.txt"), "book.py is there already"),
        (
            ("mine", "--data", "table", "flowers.csv"),
            "has the columns a, b, length, d, species: say which one to predict",
        ),
        (("mine", "--data", "images", "empty"), "empty"),
        (("mine", "--data", "text", "short.txt"), "too few to split off 0.1 of them for evaluation"),
        (("mine", "--data", "csv", "reviews.csv", "--text", "stars", "--label", "review"), "name one of classes"),
    ],
)
def test_what_cannot_run_is_one_line_and_nothing_is_written(folder, words, told):
    (folder / "book.py").touch()
    (folder / "empty").mkdir()
    (folder / "short.txt").write_text("ab")
    with (folder / "reviews.csv").open("a", newline="") as file:
        csv.writer(file).writerows([(f"text {number}", "good") for number in range(400)])
    before = sorted(path.name for path in folder.iterdir())
    done = jaxlm(folder, "new", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
