"""Predicting with runs of texts: classes, entities, continuations, chats and hidden words, as lists and files."""

import io
import json
import sys

import jax
import numpy as np
import pytest

from digit_runs import jaxlm, refused
from evaluated import evaluated_logits, predicted_logits
from jaxlm import load
from jaxlm.decode import continue_text
from jaxlm.errors import BadInput
from jaxlm.metrics import Entities, Tags
from jaxlm.predict.load import load_run
from jaxlm.runs.directory import RunDirectory
from jaxlm.train.recorder import Recorder
from jaxlm.verbs.runs import class_report
from whole_path import ROOT, SHORT, run_main, shrunk

WORDS = [word for word in (ROOT / "LICENSE").read_text().replace('"', "").split() if word.isalpha()][:480]
HEAD = """
from jaxlm.data import Bytes, Chat, Masked, Text, WordPiece, Words
from jaxlm.data.labelled_text.sources import SentenceFiles
from jaxlm.data.labelled_text.tag_sources import TagFiles
from jaxlm.losses import Classification
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

ENCODER = BERT(vocab=400, depth=1, width=16, heads=2, context=32)
WRITER = GPT(vocab=256, depth=1, width=16, heads=2, context=64)
ROWS = dict(tokenizer=Words(400), batch=8, eval_batch=5, widths=(4, 8, 16))
REST = dict(optim=AdamW(peak_lr=1e-2, schedule="constant"), run=Run(steps=4, log_every=4))
"""
CONFIGS = {
    "text_classification": "Config(model=Classifier(encoder=ENCODER, classes=2), loss=Classification(), "
    'data=SentenceFiles(train_file="{0}/texts.csv", eval_file="{0}/texts.csv", **ROWS), **REST)',
    "token_classification": "Config(model=TokenClassifier(encoder=ENCODER, classes=3), data=TagFiles("
    'folder="{0}", train_file="tags.txt", eval_file="tags.txt", tag=1, **ROWS), **REST)',
    "masked_language_model": "Config(model=MaskedLanguageModel(encoder=ENCODER), data=Masked("
    'text=Text(path="{0}/text.txt", tokenizer=WordPiece(400), length=16, batch=4)), **REST)',
    "instruction_tuning": 'Config(model=WRITER, data=Chat(path="{0}/talks.jsonl", eval_path="{0}/talks.jsonl", '
    'tokenizer=Bytes(), template="plain", length=60, batch=4), **REST)',
}


def texts():
    """48 texts of 1 to 12 words."""
    return [" ".join(WORDS[start : start + 1 + start % 12]) for start in range(0, 480, 10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data for every config of texts: whether a text is long, which words begin with a capital, questions."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [f"{text},{'long' if text.count(' ') > 5 else 'short'}" for text in texts()]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    sentences = [[f"{word} {'B-CAP' if word[0].isupper() else 'O'}" for word in text.split()] for text in texts()]
    (folder / "tags.txt").write_text("\n\n".join("\n".join(sentence) for sentence in sentences) + "\n")
    (folder / "text.txt").write_text(" ".join(WORDS))
    talks = [[{"role": "user", "content": text[:8]}, {"role": "assistant", "content": "no"}] for text in texts()]
    (folder / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """Train the run of an experiment when it is first asked for, and return its directory."""
    made = {}

    def run(name):
        if name not in made:
            config, made[name] = folder / f"{name}.py", folder / "runs" / name
            config.write_text(f"{HEAD}\nconfig = {CONFIGS[name].replace('{0}', str(folder))}\n")
            with pytest.MonkeyPatch.context() as monkeypatch:
                run_main(monkeypatch, f"{name}.py", config, "--run.directory", str(made[name]))
        return made[name]

    return run


def in_order_of_evaluation(run, inputs):
    """The inputs as an evaluation has them, those that need a narrower batch first; and the width that each needs."""
    widths = [len(prepared.rows[0]["tokens"]) for prepared in load_run(run).predictor.preprocess(inputs)]
    return [inputs[k] for k in np.argsort(widths, kind="stable")], widths


@pytest.mark.parametrize("name", ["text_classification", "token_classification"])
def test_answers_are_bit_for_bit_those_of_the_evaluation(runs, name):
    run = runs(name)
    given = texts() if name == "text_classification" else [text.split() for text in texts()]
    expected = list(evaluated_logits(run, 4))
    ordered, widths = in_order_of_evaluation(run, given)
    assert set(widths) == {4, 8, 16}
    found = predicted_logits(run, ordered)
    assert len(expected) == len(found) == 48
    assert all(map(np.array_equal, found, expected))


def test_labels_are_those_that_the_evaluation_counts(runs):
    run = runs("text_classification")
    answers = load(run)(texts())
    names = json.loads(RunDirectory(run).artefact("classes.json"))["names"]
    recorder = Recorder.existing(run)
    counts = np.asarray(recorder.sums(recorder.restore(4))["eval"]["confusion"].counts)
    found = [names.index(answer["label"]) for answer in answers]
    assert np.bincount(found, minlength=2).tolist() == counts.sum(0).tolist()


def test_entities_are_those_that_the_evaluation_counts(runs):
    run = runs("token_classification")
    answers = load(run)([text.split() for text in texts()])
    recorder = Recorder.existing(run)
    counts = recorder.sums(recorder.restore(4))["eval"]["entities"]
    assert sum(len(answer["entities"]) for answer in answers) == int(np.asarray(counts.predicted).sum())
    assert Tags(load_run(run).predictor.postprocess.names).types == ("CAP",)
    for text, answer in zip(texts(), answers, strict=True):
        assert answer["words"] == text.split()
        assert all(text[e["start"] : e["end"]] == e["text"] for e in answer["entities"])


def test_files_standard_input_and_words_have_the_answers_of_a_list(runs, folder, monkeypatch):
    run, given = runs("text_classification"), texts()[:6]
    answers = load(run)(given)
    (folder / "six.jsonl").write_text("".join(json.dumps({"body": text, "n": 1}) + "\n" for text in given))
    (folder / "six.txt").write_text("\n".join(given) + "\n")
    lines = [json.dumps(answer) for answer in answers]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(given).encode() + b"\n")))
    for words in (given, ["-"], ["--file", folder / "six.txt"], ["--file", folder / "six.jsonl", "--column", "body"]):
        code, out, err = jaxlm("predict", run, *words, "--json")
        assert (code, err) == (0, "")
        assert out.splitlines() == lines
    code, out, _ = jaxlm("predict", run, "the first text", "--proba")
    assert code == 0
    assert out.split()[:3] == ["the", "first", "text"]
    assert {*out.split()[3::2]} == {"long", "short"}
    assert "error: six.txt" not in refused("predict", run, "--file", folder / "six.txt", "--column", "body")


def test_an_empty_text_is_named_by_its_line(runs, folder):
    (folder / "gap.txt").write_text("one text\n\nanother\n")
    deep = folder / "a folder with a name that is longer than the column of a table"
    deep.mkdir(exist_ok=True)
    (folder / "gap.txt").rename(deep / "gap.txt")
    message = refused("predict", runs("text_classification"), "--file", deep / "gap.txt")
    assert f"error: {deep / 'gap.txt'} line 2: an empty text" in message
    assert refused("predict", runs("text_classification"), "").startswith('error: "": an empty text')


def test_the_table_of_a_tagger_shows_places(runs):
    code, out, _ = jaxlm("predict", runs("token_classification"), "Licensor grants You")
    (answer,) = load(runs("token_classification"))(["Licensor grants You"])
    assert code == 0
    shown = [f"{e['type']} {e['text']} [{e['start']}:{e['end']}]" for e in answer["entities"]]
    assert out.strip() == "Licensor grants You  " + ("  ".join(shown) or "-")


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A run of a language model of bytes, with an average."""
    directory = tmp_path_factory.mktemp("language") / "run"
    words = (*shrunk(), *SHORT, "--model.context", "64", "--run.ema", "0.5", "--run.directory", str(directory))
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    return directory


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.9}, {"temperature": 0.7, "top_p": 0.6}])
def test_a_continuation_is_that_of_continue_text(language, options):
    loaded, config = load_run(language), RunDirectory(language).config()
    prompts = ["You may", "", "License", "a", "b", "grants to You a", "x", "y", "z", "You may"]
    key = jax.random.key(3)
    tokenizer = loaded.predictor.preprocess.tokenizer
    expected = continue_text(config.model, loaded.variables, tokenizer, prompts, key, length=20, **options)
    found = loaded(prompts, length=20, seed=3, **options)
    assert [answer["text"] for answer in found] == expected
    assert loaded(prompts, length=20, seed=3, batch=4, **options) == found


def test_a_long_prompt_is_continued_from_its_end(language):
    loaded = load(language)
    text = " ".join(WORDS[:40])
    assert loaded([text], length=14) == loaded([text[-50:]], length=14)
    with pytest.raises(BadInput, match="length is 64 and the model's context 64: ask for at most 63"):
        loaded([text], length=64)


def test_the_command_line_continues_texts(language):
    words = ("predict", language, "You may", "License", "--length", 12, "--temperature", 0.8)
    answers = load(language)(["You may", "License"], length=12, temperature=0.8)
    assert jaxlm(*words)[1] == "".join(
        f"{prompt}|{answer['text']}\n" for prompt, answer in zip(["You may", "License"], answers, strict=True)
    )
    assert jaxlm(*words, "--json")[1].splitlines() == [json.dumps(answer) for answer in answers]
    assert jaxlm(*words, "--seed", 1) != jaxlm(*words)


def test_a_chat_answers_questions_and_conversations(runs, folder):
    run = runs("instruction_tuning")
    question = [{"role": "user", "content": "why"}]
    answers = load(run)(["why", question, {"messages": question}], length=8)
    assert answers[0] == answers[1] == answers[2]
    loaded, config = load_run(run), RunDirectory(run).config()
    prompt = "User: why\0Assistant: "
    (expected,) = continue_text(
        config.model, loaded.variables, config.data.build_tokenizer(), [prompt], jax.random.key(0), length=8,
        temperature=0.0,
    )  # fmt: skip
    assert answers[0] == {"text": expected}
    (folder / "asked.jsonl").write_text(json.dumps({"messages": question}) + "\n")
    _, out, _ = jaxlm("predict", run, "--file", folder / "asked.jsonl", "--length", 8, "--json")
    assert json.loads(out) == answers[0]


def test_hidden_words_are_filled_with_what_the_model_gives(runs):
    run = runs("masked_language_model")
    loaded, config = load_run(run), RunDirectory(run).config()
    text = "You [MASK] obtain a [MASK]"
    (answer,) = loaded([text], top=3)
    tokenizer = loaded.predictor.preprocess.tokenizer
    pieces = [tokenizer.encode(part) for part in ("You", "obtain a")]
    frame, mask = tokenizer.frame(), [tokenizer.special.mask]
    row = np.concatenate([frame.before, pieces[0], mask, pieces[1], mask, frame.after]).astype(np.int32)[None]
    shares = np.asarray(jax.nn.softmax(config.model.apply(loaded.variables, row)))[0]
    for place, guesses in zip(np.flatnonzero(row[0] == mask[0]), answer["masks"], strict=True):
        best = np.argsort(-shares[place], kind="stable")[:3]
        assert [guess["token"] for guess in guesses] == [tokenizer.decode([token]) for token in best]
        np.testing.assert_allclose([g["probability"] for g in guesses], shares[place][best], rtol=1e-4)
    filled = np.where(row[0] == mask[0], shares.argmax(-1), row[0])[len(frame.before) : -len(frame.after)]
    assert answer["text"] == tokenizer.decode(filled)
    assert "not a text with [MASK] in it" in refused("predict", run, "You may obtain")


def test_the_report_of_a_tagger_is_by_type_of_entity(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]}))
    counts = Entities(np.array([3, 1]), np.array([4, 1]), np.array([6, 2]))
    lines = [
        line.split() for line in class_report({"entities": counts}, RunDirectory(tmp_path)).splitlines() if line.strip()
    ]
    assert lines[1] == ["LOC", "0.7500", "0.5000", "0.6000", "6"]
    assert lines[2] == ["PER", "1.0000", "0.5000", "0.6667", "2"]
    assert lines[3] == ["micro", "avg", "0.8000", "0.5000", "0.6154", "8"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text_classification", "Classifier"),
        ("token_classification", "TokenClassifier"),
        ("masked_language_model", "MaskedLanguageModel"),
    ],
)
def test_what_is_no_language_model_continues_no_text(runs, name, kind):
    run = runs(name)
    assert f"{run} is not a run of a language model but of a {kind}: ask it with `jaxlm predict`" in refused(
        "sample", run
    )


@pytest.mark.parametrize("text", ["", "[]", '{"names": 3}', '{"names": [1, 2]}'])
def test_a_report_of_a_run_whose_classes_are_damaged_is_refused(runs, text):
    path = runs("text_classification") / "classes.json"
    whole = path.read_text()
    path.write_text(text)
    try:
        code, _, err = jaxlm("eval", path.parent, "--report")
    finally:
        path.write_text(whole)
    assert (code, err.count("\n")) == (2, 1)
    assert f"error: {path} is damaged" in err
