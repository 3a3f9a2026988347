"""A run directory refuses what is not its run, and never keeps a record of what was not restored."""

import contextlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from jaxlm.data import Text
from jaxlm.data.images.sources import ArrayImages
from jaxlm.data.labelled_text.sources import SentenceFiles
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.runs.directory import RunDirectory, best_record, default_directory, identity, since_best
from jaxlm.runs.serialise import read_digested, write_digested
from jaxlm.train import Config, Run

CONFIG = Config(model=GPT(vocab=9, depth=1, width=8, heads=2, context=8), data=Text(), optim=AdamW())
DATA = {"train": "abc"}
FILES = ("code", "tokenizer.json")


@pytest.fixture
def home(tmp_path):
    home = RunDirectory(tmp_path / "run")
    home.begin(CONFIG, {"data": DATA}, experiment=tmp_path / "experiment.py", artefacts={"tokenizer.json": "{}"})
    yield home
    home.close()


@pytest.fixture(autouse=True)
def experiment(tmp_path):
    (tmp_path / "experiment.py").write_text("# source\n")


def test_the_same_config_may_go_on_and_finds_the_config_before(home):
    assert RunDirectory(home.path).check(CONFIG, DATA) == CONFIG


def test_how_long_and_how_often_may_change(home):
    longer = replace(CONFIG, run=Run(steps=7, log_every=1, eval_every=2, save_every=3, keep_last=4, directory="x"))
    assert RunDirectory(home.path).check(longer, DATA) == CONFIG
    assert identity(longer) == identity(CONFIG)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (replace(CONFIG, model=CONFIG.model.clone(depth=2)), "model.depth 1 there, 2 here"),
        (replace(CONFIG, run=Run(seed=1)), "run.seed 0 there, 1 here"),
        (
            replace(CONFIG, optim=AdamW(weight_decay=0.5, clip_norm=3.0)),
            "optim.clip_norm .* there, 3.0 here; optim.weight_decay .* 0.5 here",
        ),
    ],
)
def test_another_config_is_refused_with_the_differing_fields(home, config, told):
    with pytest.raises(BadInput, match=told):
        RunDirectory(home.path).check(config, DATA)
    assert identity(config) != identity(CONFIG)


def test_changed_data_is_refused(home):
    with pytest.raises(BadInput, match="data of .* has changed"):
        RunDirectory(home.path).check(CONFIG, {"train": "abd"})


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadInput, match="not empty and not a run directory"):
        RunDirectory(tmp_path).check(CONFIG, DATA)
    with pytest.raises(BadInput, match="not a run directory"):
        RunDirectory.existing(tmp_path)


def dies_at(patch, name, count):
    """Let the call of a Path's method after `count` of them be a kill."""
    original, calls = getattr(Path, name), itertools.count()

    def method(path, *words, **named):
        if next(calls) == count:
            raise KeyboardInterrupt
        return original(path, *words, **named)

    patch.setattr(Path, name, method)


@pytest.mark.parametrize("call", ["mkdir", "open", "rename"])
def test_a_begin_that_was_killed_at_any_write_is_done_again(tmp_path, monkeypatch, call):
    artefacts = {"tokenizer.json": "{}"}
    words = (CONFIG, {"data": DATA}, tmp_path / "experiment.py", artefacts)
    for count in itertools.count():
        home = RunDirectory(tmp_path / f"run {count}")
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            dies_at(patch, call, count)
            home.begin(*words)
        home.close()
        if home.started:
            break
        assert RunDirectory(home.path).check(CONFIG, DATA, artefacts) is None
        if home.path.exists() and any("tokenizer" in path.name for path in home.path.iterdir()):
            with pytest.raises(BadInput, match="not empty and not a run directory"):
                RunDirectory(home.path).check(CONFIG, DATA)
        home.begin(*words)
        home.close()
        assert {path.name for path in home.path.iterdir()} == {".lock", "config.json", "lineage.json", *FILES}
        assert RunDirectory(home.path).check(CONFIG, DATA, artefacts) == CONFIG
    assert count >= {"mkdir": 2, "open": 5, "rename": 3}[call]


def test_what_a_killed_begin_leaves_is_told_from_a_folder_of_the_user(tmp_path):
    assert (tmp_path / "experiment.py").is_file()  # the user's own, and no lock beside it
    with pytest.raises(BadInput, match="not empty and not a run directory"):
        RunDirectory(tmp_path).check(CONFIG, DATA)


def test_evaluations_since_the_best_are_counted(home):
    run = Run(metric="eval/loss")
    nan, inf = float("nan"), float("inf")
    assert since_best(home.metrics(), run) == 0
    values = ((nan, 1), (inf, 2), (2.0, 0), (1.0, 0), (1.0, 1), (nan, 2), (3.0, 3), (-inf, 4), (0.5, 0))
    for step, (loss, since) in enumerate(values):
        home.append_metrics(step, {"eval/loss": loss})
        home.append_metrics(step, {"train/loss": 0.0})
        assert since_best(home.metrics(), run) == since
    assert since_best(home.metrics(), replace(run, maximize=True)) == 2
    assert best_record(home.metrics(), run) == {"step": 8, "eval/loss": 0.5}


def test_a_second_process_in_the_same_directory_is_refused(home):
    with pytest.raises(BadInput, match="another process"):
        RunDirectory(home.path).begin(CONFIG, {"data": DATA}, home.path / "experiment.py", {})


def test_a_resume_drops_later_records_and_a_line_cut_short(home):
    for step in (1, 2, 3):
        home.append_metrics(step, {"loss": 1.0 / step})
    with (home.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    home.truncate_metrics(2)
    assert [record["step"] for record in home.metrics()] == [1, 2]
    home.append_metrics(3, {"loss": float("nan")})
    assert json.loads((home.path / "metrics.jsonl").read_text().splitlines()[-1]) == {"step": 3, "loss": None}


def test_every_session_adds_to_the_lineage(tmp_path, home):
    home.close()
    home.begin(CONFIG, {"data": DATA, "second": True}, tmp_path / "experiment.py", {})
    assert [session.get("second") for session in home.lineage()["sessions"]] == [None, True]


def test_the_default_directory_is_named_by_config_file_and_digest(tmp_path):
    path = default_directory(tmp_path / "gpt.py", CONFIG)
    assert path.parent.name == "runs"
    assert path.name == f"gpt-{identity(CONFIG)[:10]}"


def test_the_run_of_an_older_version_is_refused_with_the_version_that_wrote_it(tmp_path, home):
    stored = read_digested(home.path / "config.json", {})
    assert stored.pop("format") == 2
    write_digested(home.path / "config.json", stored)
    lineage = home.lineage()
    lineage["sessions"][0] |= {"packages": {"jaxlm": "0.1.0"}, "git": {"commit": "0123456789abcdef"}}
    write_digested(home.path / "lineage.json", lineage)
    for read in (home.config, lambda: home.check(CONFIG, DATA)):
        with pytest.raises(BadInput, match=r"written by jaxlm 0.1.0 \(commit 0123456789ab\) in a format"):
            read()
    (home.path / "lineage.json").unlink()
    with pytest.raises(BadInput, match="written by another version of jaxlm in a format"):
        home.config(as_given=True)


@pytest.mark.parametrize("text", ["", '{"type": ', "[]", "null", "[" * 100_000, '{"format": 3}'])
def test_a_damaged_config_is_one_line(home, text):
    (home.path / "config.json").write_text(text)
    with pytest.raises(BadInput, match="is damaged|written by another version"):
        home.config()


def test_a_relative_data_path_is_found_from_anywhere_and_is_no_part_of_the_identity(tmp_path, monkeypatch):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").touch()
    config = replace(CONFIG, data=Text(path="books/one.txt"))
    home = RunDirectory(tmp_path / "run")
    home.begin(config, {"data": DATA, "directory": str(tmp_path)}, tmp_path / "experiment.py", {})
    home.close()
    monkeypatch.chdir("/")
    assert home.config().data.path == str(tmp_path / "books" / "one.txt")
    assert home.config(as_given=True) == home.check(config, DATA) == config
    (tmp_path / "books" / "one.txt").unlink()
    assert home.config() == config  # nothing there: as it was given


def test_a_file_is_relative_to_its_folder_where_it_has_one(tmp_path):
    for name in ("train.csv", "train.npz"):
        (tmp_path / name).touch()
    (tmp_path / "images").mkdir()
    found = {}
    for number, data in enumerate((SentenceFiles(train_file="train.csv"), ArrayImages(folder="images"))):
        home = RunDirectory(tmp_path / f"run {number}")
        session = {"data": DATA, "directory": str(tmp_path)}
        home.begin(replace(CONFIG, data=data), session, tmp_path / "experiment.py", {})
        home.close()
        found |= {type(data): home.config().data}
    assert found[SentenceFiles].train_file == str(tmp_path / "train.csv")
    assert found[SentenceFiles].eval_file == "eval.csv"  # not there
    assert (found[ArrayImages].folder, found[ArrayImages].train_file) == (str(tmp_path / "images"), "train.npz")
