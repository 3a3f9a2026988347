"""A run directory refuses what is not its run, and never keeps a record of what was not restored."""

import json
from dataclasses import replace

import pytest

from jaxlm.data import Text
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run
from jaxlm.train.run_directory import RunDirectory, default_directory, identity

CONFIG = Config(model=GPT(vocab=9, depth=1, width=8, heads=2, context=8), data=Text(), optim=AdamW())
DATA = {"train": "abc"}


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
