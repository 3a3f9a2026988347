"""A run directory refuses what is not its run, and never keeps a record of what was not restored."""

import contextlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from jaxlm.data import Text
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run
from jaxlm.train.run_directory import RunDirectory, default_directory, identity, since_best

CONFIG = Config(model=GPT(vocab=9, depth=1, width=8, heads=2, context=8), data=Text(), optim=AdamW())
DATA = {"train": "abc"}
FILES = ("experiment.py", "tokenizer.json")


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
        (replace(CONFIG, optim=AdamW(decay=0.5, clip=3.0)), "optim.clip .* there, 3.0 here; optim.decay .* 0.5 here"),
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
    assert count == {"mkdir": 1, "open": 6, "rename": 4}[call]


def test_what_a_killed_begin_leaves_is_told_from_a_folder_of_the_user(tmp_path):
    assert (tmp_path / "experiment.py").is_file()  # the user's own, and no lock beside it
    with pytest.raises(BadInput, match="not empty and not a run directory"):
        RunDirectory(tmp_path).check(CONFIG, DATA)


def test_evaluations_since_the_best_are_counted(home):
    run = Run(metric="eval/loss")
    assert since_best(home.metrics(), run) == -1
    for step, (loss, since) in enumerate(((2.0, 0), (1.0, 0), (1.0, 1), (float("nan"), 1), (3.0, 2), (0.5, 0))):
        home.append_metrics(step, {"eval/loss": loss})
        home.append_metrics(step, {"train/loss": 0.0})
        assert since_best(home.metrics(), run) == since
    assert since_best(home.metrics(), replace(run, maximize=True)) == 1


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
