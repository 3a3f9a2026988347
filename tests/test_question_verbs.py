"""Asking a run questions from the command line: files, the standard input, tables; its folds; transformers' folder."""

import io
import json
import sys

import pytest

from data.test_questions import ASKED, CONTEXTS, squad
from digit_runs import jaxlm, refused
from jaxlm import load
from jaxlm.decode.spans import AnswerSearch
from jaxlm.errors import BadInput
from jaxlm.predict.load import load_run
from jaxlm.runs.directory import RunDirectory
from jaxlm.train.config import load_config
from test_resume import records
from whole_path import ROOT, run_main

CONFIG = """
from jaxlm.data import WordPiece
from jaxlm.data.questions import SquadFiles
from jaxlm.decode.spans import AnswerSearch
from jaxlm.models.bert import BERT
from jaxlm.models.heads import SpanClassifier
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

config = Config(
    model=SpanClassifier(BERT(vocab=200, depth=1, width=16, heads=2, context=40)),
    data=SquadFiles(folder="{0}", train_file="a.json", eval_file="a.json", tokenizer=WordPiece(200), stride=6, batch=2,
                    eval_batch=4, widths=(16, 40)),
    decode=AnswerSearch(longest=5),
    optim=AdamW(peak_lr=1e-2, schedule="constant"),
    run=Run(steps=4, log_every=4, metric="answers/f1", maximize=True),
)
"""
INPUTS = [{"question": question, "context": CONTEXTS[context]} for _, context, question, _ in ASKED]
LONG = {"question": ASKED[2][2], "context": " ".join([*CONTEXTS, *CONTEXTS])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    (folder / "a.json").write_text(json.dumps(squad()))
    (folder / "config.py").write_text(CONFIG.replace("{0}", str(folder)))
    lines = "".join(json.dumps({"id": 3, **one}) + "\n" for one in [*INPUTS, LONG])
    (folder / "asked.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(
            monkeypatch, "question_answering.py", folder / "config.py", "--run.directory", str(folder / "runs" / "one")
        )
    return folder / "runs" / "one"


def test_files_standard_input_and_words_have_the_answers_of_a_list_of_questions(run, folder, monkeypatch):
    answers = load(run)([*INPUTS, LONG])
    assert all(0 < answer["probability"] <= 1 for answer in answers)
    for answer, given in zip(answers, [*INPUTS, LONG], strict=True):
        assert given["context"][answer["start"] : answer["end"]] == answer["answer"] != ""
    lines = [json.dumps(answer) for answer in answers]
    words = [json.dumps(given) for given in [*INPUTS, LONG]]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(words).encode() + b"\n")))
    for given in (words, ["-"], ["--file", folder / "asked.jsonl"]):
        code, out, err = jaxlm("predict", run, *given, "--json")
        assert (code, err) == (0, "")
        assert out.splitlines() == lines
    assert len(next(iter(load_run(run).predictor.preprocess([LONG]))).rows) > 2


def test_the_table_shows_answers_with_their_places(run, folder):
    answers = load(run)([*INPUTS, LONG], top=2)
    code, out, _ = jaxlm("predict", run, "--file", folder / "asked.jsonl", "--top", 2)
    assert code == 0
    shown = iter(out.splitlines())
    for number, answer in enumerate(answers, 1):
        line = f"{answer['answer']} [{answer['start']}:{answer['end']}] {answer['probability']:.4f}"
        assert next(shown) == f"{folder}/asked.jsonl line {number}  {line}"
        assert next(shown) == f"  {line}"
        assert next(shown).startswith("  ")


def test_the_evaluation_scores_the_answers_that_are_given(run):
    (record,) = [one for one in RunDirectory(run).metrics() if "answers/f1" in one]
    questions = load_run(run)([*INPUTS])
    right = [answer["answer"] in answers for answer, (*_, answers) in zip(questions, ASKED, strict=True)]
    assert record["answers/exact_match"] >= 100 * sum(right) / len(right) - 1e-9
    assert {"answers/exact_match", "answers/f1", "eval/loss", "eval/accuracy"} <= record.keys()


def test_questions_without_an_answer_need_a_threshold(folder, monkeypatch):
    (folder / "none.json").write_text(json.dumps(squad([*ASKED, (2, 2, "Which colour?", [])])))
    words = ("--data.eval-file", "none.json", "--run.directory", str(folder / "runs" / "none"))
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "question_answering.py", folder / "config.py", *words)
    assert not (folder / "runs" / "none").exists()
    with pytest.raises(
        BadInput, match="1 questions have no answer, and decode.threshold None .*: set --decode.threshold"
    ):
        load_config(folder / "config.py").decode.check(1)
    AnswerSearch(threshold=0.0).check(1)


def test_what_is_no_question_is_named_with_its_line(run, folder):
    (folder / "gaps.jsonl").write_text(json.dumps(INPUTS[0]) + "\n" + json.dumps({**INPUTS[1], "context": " "}) + "\n")
    assert f"{folder}/gaps.jsonl line 2: an empty context" in refused("predict", run, "--file", folder / "gaps.jsonl")
    (folder / "broken.jsonl").write_text('{"question": "x", \n')
    assert "broken.jsonl line 1 is not JSON" in refused("predict", run, "--file", folder / "broken.jsonl")
    (folder / "other.jsonl").write_text('{"q": "x", "context": "y"}\n')
    assert "line 1 has no 'question' (it has q, context)" in refused("predict", run, "--file", folder / "other.jsonl")
    assert "the input is not JSON" in refused("predict", run, "What opened in 1912?")
    assert "nothing to predict for" in refused("predict", run)
    with pytest.raises(BadInput, match="input 1: an empty question"):
        load(run)([INPUTS[0], {"question": "", "context": "x"}])


@pytest.mark.slow
def test_a_run_goes_to_transformers_folder_and_back(run, folder):
    out = folder / "theirs"
    assert jaxlm("export", run, "--to", "hf", out)[0] == 0
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BertForQuestionAnswering"]
    again = folder / "runs" / "again"
    words = ("--experiment", "question_answering", "--config", folder / "config.py", "--directory", again)
    code, _, err = jaxlm("import", out, *words, "--init.fresh", "^head/")  # which is not asked for: it is a whole model
    assert code == 0, err
    assert load(again)(INPUTS, batch=4) != load(run)(INPUTS, batch=4)
    words = (*words[:-1], folder / "runs" / "whole")
    assert jaxlm("import", out, *words)[0] == 0
    assert load(folder / "runs" / "whole")(INPUTS, batch=4) == load(run)(INPUTS, batch=4)


@pytest.mark.slow
def test_every_placement_trains_and_answers_alike(folder, tmp_path, monkeypatch):
    found = []
    for words in ([], ["--place.kind", "pmap"], ["--place.kind", "mesh"], ["--run.accumulate", "2"]):
        directory = tmp_path / f"run-{len(found)}"
        words = [*words, "--data.batch", "4", "--run.log-every", "1", "--run.directory", str(directory)]
        run_main(monkeypatch, "question_answering.py", folder / "config.py", *words)
        found.append([{k: x for k, x in one.items() if "/" in k and "grad" not in k} for one in records(directory)])
    for other in found[1:]:
        assert len(other) == len(found[0])
        for one, expected in zip(other, found[0], strict=True):
            assert one == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_folds_are_by_article(folder, tmp_path):
    words = ("crossval", ROOT / "experiments" / "question_answering.py", folder / "config.py", "--directory")
    code, _, err = jaxlm(*words, tmp_path / "folds", "--folds", 3)
    assert code == 0, err
    record = json.loads((tmp_path / "folds" / "crossval.json").read_text())
    assert (record["metric"], record["folds"], len(record["values"])) == ("answers/f1", 3, 3)
    held = []
    for fold in range(3):
        data = RunDirectory(tmp_path / "folds" / f"fold-{fold}").config().data
        assert (data.folds, data.fold) == (3, fold)
        held += [one.question for one in data.load()[1]]
    assert sorted(held) == sorted(question for *_, question, _ in ASKED)
    code, _, err = jaxlm(*words, tmp_path / "more", "--folds", 4)
    assert code == 2
    assert "data.folds is 4 and there are 3 articles: give 2 to 3" in err
