import json
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.data import Bytes, Pretrained, Words
from jaxlm.data.labelled_text.sentences import to_windows
from jaxlm.data.labelled_text.sources import SentenceFiles, TfdsSentences, Trec
from jaxlm.data.text.clean import Clean, one_space
from jaxlm.data.tokenizers.convert import word_piece
from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.errors import BadInput

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e"]


@pytest.fixture
def bert(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    (tmp_path / "tokenizer.json").write_text(word_piece(PIECES, True))
    return Pretrained(str(tmp_path / "tokenizer.json"))


def write(folder, train, held="text,label\na,x\n", kind="csv"):
    """Two files of labelled texts, and the fields that name them."""
    (folder / f"train.{kind}").write_text(train)
    (folder / f"eval.{kind}").write_text(held)
    return {"train_file": str(folder / f"train.{kind}"), "eval_file": str(folder / f"eval.{kind}")}


def rows(data):
    """Tokens, label and weight of every row of a split in order, without padding."""
    found = []
    for place in range(len(data)):
        batch = data[place]
        for row, mask in enumerate(batch["mask"]):
            if mask:
                tokens = batch["tokens"][row][batch["segments"][row] == 1]
                found.append((tokens.tolist(), int(batch["label"][row]), float(mask)))
    return found


def test_a_row_is_a_framed_text_with_its_label(tmp_path, bert):
    data = SentenceFiles(**write(tmp_path, "text,label\na b,x\nc,y\n"), tokenizer=bert, widths=(4, 8))
    assert data.names() == ("x", "y")
    assert rows(data.train(0)) == [([2, 5, 6, 3], 0, 1.0), ([2, 7, 3], 1, 1.0)]
    assert data.train(0)[0]["tokens"].shape == (32, 4)
    assert set(data.train(0)[0]) == {"tokens", "segments", "label", "mask"}
    assert data.example().shape == (1, 4)


def test_a_long_text_is_cut_and_counted(tmp_path, bert):
    data = SentenceFiles(**write(tmp_path, "text,label\na b c d e,x\nc,y\n"), tokenizer=bert, widths=(5,))
    assert rows(data.train(0))[0] == ([2, 5, 6, 7, 3], 0, 1.0)
    assert data.log_lines()[0].endswith("1 cut to 5 tokens")
    assert data.log_lines()[1].endswith("0 cut to 5 tokens")


def test_windows_share_their_stride_and_weigh_one_together(tmp_path, bert):
    data = SentenceFiles(**write(tmp_path, "text,label\na b c d e,x\nc,y\n"), tokenizer=bert, widths=(5,), stride=1)
    windows = sorted(row for row in rows(data.train(0)) if row[1] == 0)
    assert windows == [([2, 5, 6, 7, 3], 0, 0.5), ([2, 7, 8, 9, 3], 0, 0.5)]
    assert data.log_lines()[0].endswith("3 windows")


@given(some.integers(1, 40), some.integers(2, 9), some.integers(0, 7))
def test_windows_cover_a_text_with_exact_overlaps(length, space, stride):
    stride = min(stride, space - 1)
    text = np.arange(length)
    windows = [tokens for tokens, _ in to_windows(Frame(), text, text[:0], space, stride)]
    assert windows[0].tolist() == text[:space].tolist()
    for one, other in pairwise(windows):
        assert len(one) == space
        assert one[space - stride :].tolist() == other[: min(stride, len(other))].tolist()
        assert len(other) > stride
    assert windows[-1][-1] == length - 1


@given(some.integers(1, 20), some.integers(1, 20), some.integers(2, 12))
def test_of_a_pair_the_longer_text_is_cut(first, second, space):
    ((_, types),) = to_windows(Frame(second=1), np.arange(first), np.arange(second), space, None)
    left, right = first, second
    while left + right > space:  # token by token, as transformers words it: longest_first
        left, right = (left - 1, right) if left > right else (left, right - 1)
    assert types.tolist() == [0] * left + [1] * right


def test_pairs_have_types(tmp_path, bert):
    files = write(tmp_path, "text,other,label\na b,c,x\nc,d e,y\n", "text,other,label\na,b,x\n")
    data = SentenceFiles(**files, second="other", tokenizer=bert, widths=(8,), batch=2)
    batch = data.train(0)[0]
    row = int(np.flatnonzero(batch["label"] == 0)[0])
    assert batch["tokens"][row].tolist() == [2, 5, 6, 3, 7, 3, 0, 0]
    assert batch["types"][row].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    with pytest.raises(BadInput, match="token types, and SimpleNamespace has none"):
        data.check(SimpleNamespace(classes=2, encoder=SimpleNamespace(vocab=10)))


def test_texts_are_cleaned_as_asked_and_counted():
    texts = ["e\u0301", " a  b\n", "plain", ""]
    assert Clean()(texts) == (texts, {})
    assert Clean(unicode="NFC", spaces=True, strip=True)(texts) == (
        ["é", "a b", "plain", ""],
        {"unicode": 1, "spaces": 1, "strip": 1},
    )


@given(some.text(alphabet=" \n\tab\u00a0"))
def test_one_space_parts_the_same_words(text):
    found = one_space(text)
    assert found.split() == text.split()
    assert found.strip() == " ".join(text.split())
    assert (found[:1] == " ", found[-1:] == " ") == (text[:1].isspace(), text[-1:].isspace())


def test_what_was_cleaned_is_told(tmp_path):
    data = SentenceFiles(**write(tmp_path, "text,label\n a ,x\nb,y\n"), clean=Clean(strip=True))
    assert "1 changed by strip" in data.log_lines()[0]
    assert "0 changed by strip" in data.log_lines()[1]


def test_words_are_those_of_the_training_texts(tmp_path):
    data = SentenceFiles(
        **write(tmp_path, "text,label\nA dog,x\na cat,y\n", "text,label\na bird,x\n"), tokenizer=Words()
    )
    assert data.build_tokenizer().words == ("a", "cat", "dog")
    assert rows(data.eval()) == [([2, 1], 0, 1.0)]


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_kinds_of_files_hold_the_same(tmp_path, kind):
    found = [{"text": "a, b", "label": "x"}, {"text": 'c "d"', "label": "y"}]
    if kind == "jsonl":
        text = "\n".join(json.dumps(row) for row in found) + "\n\n"
    else:
        text = 'text\tlabel\na, b\tx\nc "d"\ty\n'
    data = SentenceFiles(**write(tmp_path, text, text, kind), tokenizer=Words())
    words = data.build_tokenizer()
    assert [(words.decode(tokens), label) for tokens, label, _ in rows(data.eval())] == [("a , b", 0), ('c " d "', 1)]
    assert data.names() == ("x", "y")


@pytest.mark.parametrize(
    ("kind", "train", "held", "message"),
    [
        ("csv", "text,label\na,x\n,y\n", None, r"train\.csv line 3: an empty text \(1 such\).*--data.empty drop"),
        ("csv", "text,label\na,x\nb\n", None, r"train\.csv line 3: no 'label' there \(it has text\)"),
        ("csv", "sentence,label\na,x\n", None, r"train\.csv line 2: no 'text' there \(it has sentence, label\)"),
        ("csv", "text,label\na,x\n", "text,label\na,x\nb,z\n", r"eval\.csv line 3: the label 'z' is not among .*\(x\)"),
        ("csv", "text,label\n", None, r"train\.csv has no texts"),
        ("csv", 'text,label\n"a"b,x\n', None, r"train\.csv line \d: "),
        ("jsonl", "{\n", None, r"train\.jsonl line 1 is not JSON"),
        ("jsonl", "[1]\n", None, r"train\.jsonl line 1 is not a JSON object"),
        ("txt", "a", None, r"train\.txt ends in none of"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_their_line(tmp_path, kind, train, held, message):
    with pytest.raises(BadInput, match=message) as error:
        SentenceFiles(**write(tmp_path, train, held or train, kind)).train(0)
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(BadInput, match="there is no file"):
        SentenceFiles(train_file=str(tmp_path / "none.csv")).train(0)
    (tmp_path / "train.csv").write_bytes(b"text,label\n\xff,x\n")
    with pytest.raises(BadInput, match="line 2 is not UTF-8 text"):
        SentenceFiles(train_file=str(tmp_path / "train.csv"), eval_file=str(tmp_path / "train.csv")).train(0)


def test_empty_texts_may_be_left_out(tmp_path, bert):
    files = write(tmp_path, "text,label\na,x\n\u200b,y\nb,y\n", "text,label\na,x\n")
    data = SentenceFiles(**files, empty="drop", tokenizer=bert)
    assert len(rows(data.train(0))) == 2
    assert "1 left out for having no tokens" in data.log_lines()[0]


def test_a_text_of_100_000_words_is_cut_in_a_moment(tmp_path, bert):
    files = write(tmp_path, "text,label\n" + "a b " * 50_000 + ",x\nb,y\n")
    began = time.monotonic()
    data = SentenceFiles(**files, tokenizer=bert, widths=(16,))
    assert len(rows(data.train(0))[0][0]) <= 16
    assert time.monotonic() - began < 5
    windows = SentenceFiles(**files, tokenizer=bert, widths=(102,), stride=0)
    assert sum(weight for _, label, weight in rows(windows.train(0)) if label == 0) == pytest.approx(1, abs=1e-4)


def test_models_that_do_not_fit_are_told(tmp_path, bert):
    data = SentenceFiles(**write(tmp_path, "text,label\na,x\nb,y\n"), tokenizer=bert, widths=(8, 16))
    fits = {"classes": 2, "encoder": SimpleNamespace(vocab=10, context=16)}
    data.check(SimpleNamespace(**fits))
    for change, message in (
        ({"classes": 3}, r"2 classes \(x, y\) and the model 3: set --model.classes 2"),
        ({"encoder": SimpleNamespace(vocab=9)}, "the tokenizer has 10 tokens and the model's vocabulary 9"),
        (
            {"encoder": SimpleNamespace(vocab=10, context=15)},
            "rows of 16 tokens .* model's context of 15",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            data.check(SimpleNamespace(**(fits | change)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": (2,)}, "special tokens fill"),
        ({"stride": 6, "widths": (8,)}, "data.stride is 6: give 0 to 5"),
        ({"stride": -1}, "data.stride is -1"),
    ],
)
def test_shapes_that_leave_no_place_are_told(tmp_path, bert, fields, message):
    with pytest.raises(BadInput, match=message):
        SentenceFiles(**write(tmp_path, "text,label\na,x\nb,y\n"), tokenizer=bert, **fields).train(0)


def test_trec_has_six_kinds_of_answers(real_data):
    data = Trec(folder=str(real_data / "trec6"), tokenizer=Words(size=1000))
    assert data.names() == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    train, held = rows(data.train(0)), rows(data.eval())
    assert (len(train), len(held)) == (5452, 500)
    assert np.bincount([label for _, label, _ in train]).tolist() == [86, 1162, 1250, 1223, 835, 896]
    assert len(Trec(folder=str(real_data / "trec6"), fine=True).names()) == 50


def test_questions_without_a_kind_are_named(tmp_path):
    (tmp_path / "train_5500.label").write_text("NUM:dist How far ?\nWho ?\n")
    with pytest.raises(BadInput, match=r"train_5500\.label line 2: no `COARSE:fine question`"):
        Trec(folder=str(tmp_path)).train(0)


def test_sst2_by_name(real_data, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(real_data / "tfds"))
    data = TfdsSentences(train_split="validation", tokenizer=Bytes(), widths=(64, 320))
    assert data.names() == ("negative", "positive")
    assert len(rows(data.eval())) == 872
    assert sum(label for _, label, _ in rows(data.eval())) == 444
    for fields, message in (
        ({"eval_split": "test"}, r"example 0 of glue/sst2 test: the label -1 is not among 0 \.\.\. 1 \(1821 such\)"),
        ({"text": "words"}, "no feature 'words': it has idx, label, sentence"),
        ({"label": "idx"}, "'idx' of glue/sst2 is not a class label"),
        ({"eval_split": "dev"}, "no split 'dev'"),
    ):
        with pytest.raises(BadInput, match=message):
            TfdsSentences(train_split="validation", **fields).train(0)
