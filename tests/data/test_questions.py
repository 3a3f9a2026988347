"""Questions as rows: characters to tokens and back, windows that cut no answer, folds by article, refusals."""

import dataclasses
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from jaxlm.data.questions import SquadFiles
from jaxlm.data.questions.squad import read_squad
from jaxlm.data.questions.windows import characters_of, to_question_windows, tokens_of
from jaxlm.data.tokenizers.byte_pairs import train_byte_pairs
from jaxlm.data.tokenizers.library import BPETokenizer
from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.data.tokenizers.specs import WordPiece
from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.heads import SpanClassifier
from jaxlm.models.lstm import LSTM

FRAME = Frame((2,), (3,), (3,), 1)
STRANGE = (
    "Cafe\u0301 de\u0301ja\u0300 vu\u0303, 6½ km.",
    "  👍🏽 and 👨‍👩‍👧 e\u0301\u0323x ",
    "zero\u200bwidth 漢字 x\u0000y İstanbul ǅ ﬁne",
    "नमस्ते दुनिया ok",
)


def tokenizers():
    text = [*STRANGE, "a plain text with some words"]
    return {
        "pieces": WordPiece(260).build(text),
        "cased pieces": WordPiece(260, lower=False).build(text),
        "bytes": BPETokenizer(train_byte_pairs(text, 300)),
    }


@pytest.mark.parametrize("kind", ["pieces", "cased pieces", "bytes"])
def test_characters_become_tokens_and_tokens_characters(kind):
    tokenizer = tokenizers()[kind]
    for text, (ids, spans) in zip(STRANGE, tokenizer.encode_spans(STRANGE), strict=True):
        assert ids.tolist() == tokenizer.encode(text).tolist()
        assert len(spans) == len(ids)
        assert (np.diff(spans[:, 0]) >= 0).all()
        written = "".join(text.split())
        covered = sorted({place for start, end in spans for place in range(start, end)})
        assert "".join(text[place] for place in covered) == written  # every character but white space is of a token
        real = [number for number, (start, end) in enumerate(spans) if start < end]  # not a token of white space
        for first in real:
            for last in [number for number in real if number >= first]:
                start, end = characters_of(spans, first, last)
                found = tokens_of(spans, start, end)
                low, high = characters_of(spans, *found)
                assert (low <= start and end <= high) if kind == "bytes" else (low, high) == (start, end)
                assert found[0] <= first
                assert found[1] >= last
        for start in range(len(text)):  # what is found is the least stretch of tokens around the characters
            for end in range(start + 1, len(text) + 1):
                found = tokens_of(spans, start, end)
                if found is None:
                    assert not text[start:end].strip()
                    continue
                low, high = characters_of(spans, *found)
                assert low <= start + len(text[start:end]) - len(text[start:end].lstrip())
                assert high >= end - (len(text[start:end]) - len(text[start:end].rstrip()))
                assert low > start or spans[found[0], 1] > start


def test_a_token_is_not_cut_from_its_marks():
    found = tokenizers()["pieces"].encode_spans(STRANGE[:2])
    pieces = [[text[start:end] for start, end in spans] for text, (_, spans) in zip(STRANGE, found, strict=False)]
    assert "".join(pieces[0][:1]).startswith("C")
    for text, parts in zip(STRANGE, pieces, strict=False):
        assert all(part[0] not in "\u0301\u0300\u0303\u0323\u200d" for part in parts), parts
        assert "".join(parts) == "".join(text.split())


@pytest.mark.parametrize("length", range(1, 40))
def test_windows_hold_the_context_and_cut_no_answer_of_the_overlap(length):
    context, question = np.arange(100, 100 + length, dtype=np.int32), np.arange(10, 14, dtype=np.int32)
    for width, stride in ((12, 0), (16, 4), (20, 12)):
        windows = to_question_windows(FRAME, question, context, width, stride)
        for one in windows:
            assert len(one.tokens) <= width
            inside = context[one.first : one.stop]
            assert one.tokens.tolist() == [2, *question, 3, *inside, 3]
            assert one.types.tolist() == [0] * 6 + [1] * (len(inside) + 1)
            places = np.flatnonzero(one.places)
            assert places[0] == 0
            assert (context[places[1:] + one.shift] == one.tokens[places[1:]]).all()
            assert len(places) == 1 + len(inside)
        assert (windows[0].first, windows[-1].stop) == (0, length)
        assert all(a.stop - b.first == stride for a, b in pairwise(windows))
        for first in range(length):
            for last in range(first, min(first + stride + 1, length)):
                targets = [one.target(first, last) for one in windows]
                whole = [(one, t) for one, t in zip(windows, targets, strict=True) if t > (0, 0)]
                assert whole
                assert all(one.tokens[t[0]] == context[first] and one.tokens[t[1]] == context[last] for one, t in whole)
                for one, target in zip(windows, targets, strict=True):
                    part = len({*range(one.first, one.stop)} & {*range(first, last + 1)})
                    kinds = {0: (0, 0), last + 1 - first: (first - one.shift, last - one.shift)}
                    assert target == kinds.get(part, (-1, -1))


CONTEXTS = (
    "Whales are mammals. The blue whale, the largest of them, was measured at 29.9 metres.",
    "The cafe\u0301 in Kyōto opened in 1912; its owner kept 👩‍👧 a journal of the guests who came.",
    "A short text about the number seven.",
)
ASKED = (
    (0, 0, "How long was the blue whale?", ["29.9 metres", "29.9"]),
    (0, 0, "What are whales?", ["mammals"]),
    (1, 1, "What opened in 1912?", ["cafe\u0301"]),
    (2, 2, "Which number?", ["seven"]),
    (2, 2, "Which words?", ["A short text about the number seven"]),
)


def squad(asked=ASKED, contexts=CONTEXTS):
    """The JSON of a file: one article for each number, one paragraph for each question."""
    articles = {}
    for article, context, question, answers in asked:
        found = [{"text": text, "answer_start": contexts[context].find(text)} for text in answers]
        qa = {"id": question, "question": question, "answers": found, "is_impossible": not answers}
        articles.setdefault(article, []).append({"context": contexts[context], "qas": [qa]})
    return {"version": "1.1", "data": [{"title": "x", "paragraphs": parts} for parts in articles.values()]}


def write(folder, content, **fields):
    """A file for both splits, and its spec."""
    (folder / "a.json").write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    options = {"widths": (16, 24), "stride": 6, "batch": 2, "eval_batch": 3, "tokenizer": WordPiece(200), **fields}
    return SquadFiles(folder=str(folder), train_file="a.json", eval_file="a.json", **options)


def rows_of(batches):
    """Every row of an epoch that is not padding."""
    for index in range(len(batches)):
        batch = batches[index]
        yield from ({name: x[row] for name, x in batch.items()} for row in np.flatnonzero(batch["mask"]))


def test_the_target_of_every_row_is_its_answer(tmp_path):
    spec = write(tmp_path, squad())
    for part, batches in ((spec.loaded().eval, spec.eval()), (spec.loaded().train, spec.train(seed=0))):
        answered = set()
        for row in rows_of(batches):
            question, spans = part.questions[row["row"]], part.spans[row["row"]]
            assert (row["tokens"][row["segments"] == 0] == 0).all()
            if row["start"] > 0:
                assert row["places"][row["start"] : row["end"] + 1].all()
                start, end = characters_of(spans, *(int(row[name] + row["shift"]) for name in ("start", "end")))
                assert question.context[start:end] == question.answers[0]
                answered.add(question.question)
        assert answered == {question for *_, question, _ in ASKED}
    assert spec.loaded().eval.counts["windows"] > len(ASKED)
    assert len(list(rows_of(spec.eval()))) == spec.loaded().eval.counts["windows"]


def test_answers_that_are_not_at_their_places_are_counted_and_named(tmp_path):
    content = squad()
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 3  # the second one is right
    content["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["text"] = "fish"
    content["data"][2]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = -1
    spec = write(tmp_path, content)
    loaded = spec.loaded()
    places = [f"{tmp_path}/a.json article {article} paragraph {part} question 0" for article, part in ((0, 1), (2, 0))]
    assert loaded.train.misplaced == places
    assert loaded.train.counts["answers not at their places"] == 2
    assert f"answers not at their places: {', '.join(places)}" in spec.log_lines()
    assert {row["row"] for row in rows_of(spec.train())} == {0, 2, 4}
    targets = {int(row["row"]): row["start"] for row in rows_of(spec.eval()) if row["start"] != 0}
    assert targets[1] == targets[3] == -1  # asked all the same, without a target
    everything = squad()
    for article in everything["data"]:
        for part in article["paragraphs"]:
            part["qas"][0]["answers"] = [{"text": "nowhere", "answer_start": 0}]
    with pytest.raises(BadInput, match="article 0 paragraph 0 question 0: this and all other answers are at other"):
        write(tmp_path, everything).loaded()


def test_answers_that_no_window_holds_and_ends_inside_of_tokens_are_counted(tmp_path):
    whole = (0, 0, "Which?", [CONTEXTS[0]])
    part = (0, 0, "What?", ["hale"])
    counts = write(tmp_path, squad([*ASKED[:2], whole, part]), widths=(20,)).loaded().train.counts
    assert counts["answers cut by all windows"] == 1
    assert counts["answers that end inside a token"] <= 1
    assert counts["questions"] == 4


def test_impossible_questions_point_to_the_first_token(tmp_path):
    spec = write(tmp_path, squad([*ASKED, (2, 2, "Which colour?", [])]))
    assert spec.loaded().train.counts["questions without an answer"] == 1
    rows = [row for row in rows_of(spec.train()) if row["row"] == 5]
    assert rows
    assert all(row["start"] == row["end"] == 0 for row in rows)


@pytest.mark.parametrize("folds", [2, 3])
def test_folds_hold_out_every_question_once_and_share_no_article(tmp_path, folds):
    spec, held = write(tmp_path, squad(), folds=folds), []
    for fold in range(folds):
        train, evaluation = dataclasses.replace(spec, fold=fold, eval_file="gone.json").load()
        assert not {one.article for one in train} & {one.article for one in evaluation}
        assert len(train) + len(evaluation) == len(ASKED)
        held += [one.question for one in evaluation]
    assert sorted(held) == sorted(question for *_, question, _ in ASKED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda qa, part: qa.update(question=" "), "paragraph 0 question 0: the question is empty"),
        (lambda qa, part: part.update(context="\n"), "article 0 paragraph 0: the context is empty"),
        (lambda qa, part: qa.update(question="\u0301"), "question 0: the question has no tokens"),
        (lambda qa, part: qa.update(answers=[]), "question 0 has no answers: give one, or mark it"),
        (lambda qa, part: qa.pop("answers"), "question 0 has no list 'answers'"),
        (lambda qa, part: qa.update(question=["x"]), "question 0 has no text 'question'"),
        (lambda qa, part: qa["answers"][0].update(text=""), "question 0 answer 0: the text is empty"),
        (lambda qa, part: qa["answers"][0].pop("answer_start"), "answer 0 has answer_start None: give that of"),
        (lambda qa, part: qa["answers"][0].update(answer_start="5"), "answer 0 has answer_start '5'"),
        (lambda qa, part: qa.update(question="why " * 40), "the question has 40 tokens, which leaves 0 of 24"),
        (lambda qa, part: part.pop("qas"), "article 0 paragraph 0 has no list 'qas'"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_its_place(tmp_path, change, words):
    content = squad()
    part = content["data"][0]["paragraphs"][0]
    change(part["qas"][0], part)
    with pytest.raises(BadInput, match=words) as error:
        write(tmp_path, content).loaded()
    assert "\n" not in str(error.value)
    assert "a.json article 0 paragraph 0" in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"data": [\n{"paragraphs": [}]}', r"a.json is not JSON \(.*line 2 column"),
        ("[]", "a.json has no list 'data'"),
        ('{"data": []}', "a.json has no questions"),
        ('{"data": [3]}', "a.json article 0 has no list 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"context": "x", "qas": [7]}]}]}', "question 0 has no text 'question'"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path, content, words):
    spec = write(tmp_path, content)
    with pytest.raises(BadInput, match=words):
        spec.loaded()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fold": 1}, "data.fold is 1 and data.folds 0"),
        ({"folds": 4}, "data.folds is 4 and there are 3 articles: give 2 to 3"),
        ({"folds": 1}, "data.folds is 1"),
        ({"folds": 3, "fold": 3}, "give a fold from 0 to 2"),
        ({"folds": 3, "fold": -1}, "give a fold from 0 to 2"),
        ({"stride": -1}, "data.stride is -1"),
        ({"stride": 23}, "its windows repeat 23"),
        ({"widths": (24, 16)}, "data.widths is"),
        ({"train_file": "gone.json"}, "there is no file"),
    ],
)
def test_fields_that_cannot_be_are_one_line(tmp_path, fields, words):
    spec = dataclasses.replace(write(tmp_path, squad()), **fields)
    with pytest.raises(BadInput, match=words):
        spec.loaded()


def test_a_model_that_does_not_fit_is_refused(tmp_path):
    spec = write(tmp_path, squad())
    encoder = BERT(vocab=200, depth=1, width=8, heads=2, context=40)
    spec.check(SpanClassifier(encoder))
    for model, words in (
        (encoder.clone(context=23), "longer than the model's context of 23"),
        (encoder.clone(vocab=20), "set it to"),
        (encoder.clone(types=1), "need a model of two token types: set model.encoder.types to 2"),
        (LSTM(vocab=200, width=8), "need a model of two token types"),
    ):
        with pytest.raises(BadInput, match=words):
            spec.check(SpanClassifier(model))


@pytest.mark.skipif(not os.environ.get("JAXLM_TEST_DATA"), reason="JAXLM_TEST_DATA is not set: no real questions")
def test_real_questions_keep_their_answers_to_the_character():
    path = Path(os.environ["JAXLM_TEST_DATA"]) / "xquad_en" / "xquad.en.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    questions = read_squad(path)
    assert (len(questions), len({one.article for one in questions})) == (1190, 48)
    spec = SquadFiles(folder=str(path.parent), train_file=path.name, folds=5, stride=64, tokenizer=WordPiece(3000))
    exact = 0
    for part in (spec.loaded().train, spec.loaded().eval):
        assert not part.misplaced
        assert part.counts["answers cut by all windows"] == 0
        for one, spans in zip(part.questions, part.spans, strict=True):
            start, end = one.starts[0], one.starts[0] + len(one.answers[0])
            exact += characters_of(spans, *tokens_of(spans, start, end)) == (start, end)
    assert exact >= 1189
