"""Recommenders from the command line: training, rankings, answers for users, refusals, tables that are split by row."""

import json

import jax
import numpy as np
import pytest

from digit_runs import jaxlm, refused
from jaxlm import load
from jaxlm.errors import BadInput
from jaxlm.metrics import ranking_values
from jaxlm.predict.load import load_run
from jaxlm.predict.predictor import answer_all
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.serialise import from_json, to_json
from jaxlm.train.recorder import Recorder, compose
from shrunk_recommenders import ITEMS, recommender_words
from whole_path import ROOT, losses, run_fails_with, run_main


def train(name, folder, *words):
    """Train a shrunk config; return its directory."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = recommender_words(name, folder, monkeypatch)
        config = ROOT / "configs" / f"{name}.py"
        run_main(monkeypatch, "recommendation.py", config, *given, *words, "--run.directory", str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("mf_citeulike", tmp_path_factory.mktemp("mf"))


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    return train("sasrec_file", tmp_path_factory.mktemp("sasrec"), "--run.steps", "200", "--run.log-every", "50")


def test_answers_leave_out_what_the_user_has_met_and_are_the_best_of_the_rest(run):
    (answer,) = load(run)([{"user": "17", "top": 4}])
    found = RunDirectory(run).config().data.loaded()
    loaded = load_run(run)
    scores = np.asarray(loaded.predictor.apply(loaded.variables, {"user": np.array([17])})["logits"])[0]
    number = {name: place for place, name in enumerate(found.item_names)}
    met = found.met.items[found.met.starts[17] : found.met.starts[18]]
    rest = np.setdiff1d(np.arange(ITEMS), met)
    best = rest[np.argsort(-scores[rest], kind="stable")][:4]
    assert [number[name] for name in answer["items"]] == best.tolist()
    np.testing.assert_allclose(answer["scores"], scores[best], rtol=1e-5)


def test_answers_rank_as_the_evaluation_does(run):
    recorder = Recorder.existing(run)
    found, cutoffs = recorder.config.data.loaded(), recorder.config.data.cutoffs
    users = np.flatnonzero(found.held_out.counts)
    answers = load(run)([{"user": found.user_names[user], "top": ITEMS} for user in users])
    number = {name: place for place, name in enumerate(found.item_names)}
    values = []
    for user, answer in zip(users, answers, strict=True):
        order = [number[name] for name in answer["items"]]
        held = found.held_out.items[found.held_out.starts[user] : found.held_out.starts[user + 1]]
        above = np.array([[order.index(item) for item in held]])
        values.append(ranking_values(above, np.ones_like(above), np.ones(above.shape, bool), cutoffs)["ndcg@20"][0])
    recorded = recorder.run_dir.evaluation_at(20, recorder.experiment.evaluations)
    assert np.mean(values) == pytest.approx(recorded["eval/ndcg@20"], rel=1e-9)  # no two scores are equal here
    assert {"sampled5/hr@10", "eval/hr@10", "eval/recall@20", "eval/mrr"} <= recorded.keys()


def test_the_command_line_answers_users(run, tmp_path):
    code, out, _ = jaxlm("predict", run, "--user", "17", "--user", "3", "--top", "2")
    first, second = out.splitlines()
    assert code == 0
    assert first.startswith("user 17  ")
    assert second.startswith("user 3 ")
    (tmp_path / "asked.csv").write_text("user\n17\n")
    for words in (["--user", "17"], ['{"user": "17"}'], ["--file", str(tmp_path / "asked.csv")]):
        _, out, _ = jaxlm("predict", run, *words, "--top", "3", "--json")
        assert json.loads(out) == load(run)([{"user": 17}], top=3)[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "nobody"], "user nobody: the user 'nobody' is not among the 40"),
        (['{"user": "1", "items": ["3", "none"]}'], "the item 'none' is not among the 24"),
        (['{"user": "1", "top": 0}'], "top is 0"),
        (['{"user": "1", "best": 3}'], "give an object with either 'user' or 'history'"),
        (['{"history": ["3"]}'], "knows users by name and reads no history"),
        (["--user", "1", "--top", "0"], "top is 0"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(run, words, said):
    assert said in refused("predict", run, *words)


def test_only_named_items_are_ranked_where_some_are_named(run):
    (answer,) = load(run)([{"user": "5", "items": ["3", "1", "20"]}])
    assert sorted(answer["items"]) == ["1", "20", "3"]
    assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_sequences_learn_what_comes_next_and_answer_histories(sequences):
    recorder = Recorder.existing(sequences)
    found = recorder.run_dir.evaluation_at(200, recorder.experiment.evaluations)
    assert found["eval/hr@10"] > 0.9  # by chance 10 of 18
    assert found["eval/mrr"] > 0.8
    (answer,) = load(sequences)([{"history": ["2", "5", "8", "11"], "top": 1}])
    assert answer["items"] == ["14"]
    assert "the item 'z' is not among" in refused("predict", sequences, '{"history": ["z"]}')


def test_both_halves_of_a_predictor_are_data(run):
    predictor = load_run(run).predictor
    halves = json.loads(json.dumps([to_json(predictor.preprocess), to_json(predictor.postprocess)]))
    preprocess, postprocess = (from_json(half) for half in halves)
    again = type(predictor)(preprocess, predictor.apply, postprocess, predictor.examples)
    asked, variables = [{"user": "7"}], load_run(run).variables
    assert list(answer_all(again, variables, asked)) == list(answer_all(predictor, variables, asked))


@pytest.mark.parametrize(("kind", "fsdp"), [("mesh", 4), ("mesh", 2)])
def test_tables_are_split_by_row_under_a_mesh_and_losses_and_metrics_are_those_of_one_device(run, tmp_path, kind, fsdp):
    other = train("mf_citeulike", tmp_path, "--place.kind", kind, "--place.fsdp", str(fsdp))
    np.testing.assert_allclose(losses(other), losses(run), rtol=1e-5)
    config = RunDirectory(other).config()
    module = load_module_of(other)
    experiment, place = compose(module.build, config)
    state = place.init(experiment.init, jax.random.key(0))
    split = state.params["item_table"]["embedding"].addressable_shards[0].data.shape
    assert split == (64 // fsdp, 8)
    assert all(leaf.sharding.is_fully_replicated == (leaf.ndim < 2) for leaf in jax.tree.leaves(state.params))


def load_module_of(run):
    """The experiment file that a run kept."""
    from jaxlm.runs.load import load_module

    return load_module(RunDirectory(run).experiment)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "has no interactions"), ("2 1 2\n2 7\n", "line 2: the count is 2 and 1 items follow")],
)
def test_files_that_cannot_be_read_stop_a_run_before_it_begins(tmp_path, monkeypatch, capsys, text, said):
    words = recommender_words("mf_citeulike", tmp_path, monkeypatch)
    (tmp_path / "users.dat").write_text(text)
    config = ROOT / "configs" / "mf_citeulike.py"
    error = run_fails_with(
        monkeypatch, capsys, "recommendation.py", config, *words, "--run.directory", str(tmp_path / "r")
    )
    assert said in error
    assert str(tmp_path / "users.dat") in error
    assert not (tmp_path / "r").exists()


def test_a_damaged_list_of_interactions_is_refused(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "interactions.json").write_text('{"users": ["1"]}')
    with pytest.raises(BadInput, match="interactions.json is damaged"):
        load(tmp_path / "run")
