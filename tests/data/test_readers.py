"""One set of rules for encodings, line ends, white space and JSON in every reader of texts."""

import argparse
import io
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from jaxlm.data import Bytes, Chat, Text, Words
from jaxlm.data.labelled_text.sources import SentenceFiles, Trec, sort_labels
from jaxlm.data.labelled_text.tag_sources import TagFiles
from jaxlm.data.readers.records import read_records
from jaxlm.data.readers.text import decode_text, to_lines
from jaxlm.errors import BadInput
from jaxlm.verbs.predict import read_inputs

SEPARATORS = "\u2028\u2029\x85\x1c\x1d\x1e"  # at which str.splitlines ends a line
WORD = f"a{SEPARATORS}b\u00a0c"


def csv_texts(path):
    return SentenceFiles(train_file=path, eval_file=path).load()[0].texts


def tagged_words(path):
    return [sentence.words for sentence in TagFiles(folder="/", train_file=path, eval_file=path, tag=1).load()[0]]


def inputs(path):
    return [one.value for one in read_inputs(SimpleNamespace(inputs=[], file=path, column=[]))]


def chats(path):
    return list(Chat(path=path, eval_path=path).texts(path))


def documents(path):
    return "".join(piece for one in Text(path=path, eval_fraction=0).documents()[0] for piece in one.pieces())


MESSAGE = {"messages": [{"role": "user", "content": WORD}, {"role": "assistant", "content": "x"}]}
READERS = {
    "csv": ("t.csv", f'text,label\n{WORD},x\n\n"1\n2",y\n', csv_texts, [WORD, "1\n2"]),
    "tsv": ("t.tsv", f'text\tlabel\n{WORD}\tx\n"1\ty\n', csv_texts, [WORD, '"1']),
    "json lines": (
        "t.jsonl",
        json.dumps({"text": WORD, "label": "x"}, ensure_ascii=False) + '\n \n{"text": 1.5, "label": 2}\n',
        csv_texts,
        [WORD, "1.5"],
    ),
    "conversations": ("c.jsonl", json.dumps(MESSAGE, ensure_ascii=False) + "\n\n", chats, [WORD, "x"]),
    "words and tags": ("t.txt", f"{WORD} O\n b  \t B-X\n \t\n{WORD}\tB-X\n", tagged_words, [[WORD, "b"], [WORD]]),
    "lines to predict": ("p.txt", f"{WORD}\n\n last", inputs, [WORD, "", " last"]),
    "table to predict": ("p.csv", f',text\n0,{WORD}\n1,"b\nc"\n', inputs, [WORD, "b\nc"]),
    "plain text": ("t.txt", f"{WORD}\n\nb\n", documents, f"{WORD}\n\nb\n"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_the_kind_of_line_end_change_nothing(tmp_path, reader, end, mark):
    name, content, read, expected = READERS[reader]
    path = tmp_path / name
    path.write_bytes((mark + content).replace("\n", end).encode())
    assert read(str(path)) == expected


@pytest.mark.parametrize("reader", READERS)
def test_bytes_of_another_encoding_are_named_with_file_and_line(tmp_path, reader):
    name, content, read, _ = READERS[reader]
    path = tmp_path / name
    path.write_bytes(content.encode() + b"\xff")
    line = content.count("\n") + 1
    with pytest.raises(BadInput, match=rf"{path} line {line} is not UTF-8 text \(byte \d+ is 0xff\): convert it"):
        read(str(path))
    path.write_bytes(content.encode("utf-16"))
    with pytest.raises(BadInput, match="such as with iconv -f UTF-16 -t UTF-8"):
        read(str(path))


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(tmp_path, reader):
    name, _, read, _ = READERS[reader]
    with pytest.raises(BadInput, match=f"{tmp_path / name}"):
        read(str(tmp_path / name))
    (tmp_path / name).mkdir()
    (tmp_path / name / "text.txt").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=f"{tmp_path}"):
        read(str(tmp_path / name / "text.txt")) if name.endswith("txt") else read(str(tmp_path / name))


def test_the_standard_input_goes_by_the_same_rules(monkeypatch):
    for content, expected in ((f"{WORD}\r\n b\n", [WORD, " b"]), ("\ufeff1\r2", ["1", "2"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        words = argparse.Namespace(inputs=["-"], file=None, column=[])
        assert [one.value for one in read_inputs(words)] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xe9")))
    with pytest.raises(BadInput, match="the standard input line 2 is not UTF-8 text"):
        list(read_inputs(words))


def test_latin_1_goes_by_the_same_rules(tmp_path):
    (tmp_path / "train_5500.label").write_bytes(
        "NUM:dist Wie weit für dich ?\r\n \r\nHUM:ind \x85?\n".encode("latin-1")
    )
    (tmp_path / "TREC_10.label").write_bytes(b"NUM:dist x\n")
    data = Trec(folder=str(tmp_path), tokenizer=Words())
    assert data.load()[0].texts == ["Wie weit für dich ?", "\x85?"]


@given(some.text(some.characters(codec="utf-8", exclude_characters="\r")))
def test_lines_joined_are_the_text(text):
    lines = to_lines(decode_text(text.encode(), "a file").removeprefix("\ufeff"))
    assert "".join(line + "\n" for line in lines).removesuffix("\n") == text.removeprefix("\ufeff").removesuffix("\n")


def records(folder, content, name="t.csv"):
    path = folder / name
    path.write_text(content)
    return list(read_records(path))


def test_the_index_of_pandas_is_no_column(tmp_path, real_data):
    path = str(real_data / "cases" / "csv" / "pandas_index.csv")
    train, _, names = SentenceFiles(train_file=path, eval_file=path).load()
    assert (train.texts, train.seconds, names) == (["good film", "bad film"], [], ("neg", "pos"))
    assert records(tmp_path, ",text\n0,a\n") == [(2, {"text": "a"})]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("label_first_unquoted_commas.csv", "line 2 has 4 fields and the header 2: put quotation marks around"),
        ("tsv_extra_tab.tsv", "line 2 has 3 fields and the header 2: take the tabs out"),
    ],
)
def test_a_row_longer_than_the_header_is_refused(real_data, name, message):
    path = str(real_data / "cases" / "csv" / name)
    with pytest.raises(BadInput, match=f"{name} {message}"):
        SentenceFiles(train_file=path, eval_file=path).load()


def test_a_record_is_named_by_the_line_it_begins_on(tmp_path):
    assert records(tmp_path, 'a,b\n\n"1\n2",3\n4,5\n6\n') == [
        (3, {"a": "1\n2", "b": "3"}),
        (5, {"a": "4", "b": "5"}),
        (6, {"a": "6"}),
    ]
    with pytest.raises(BadInput, match="line 3: unexpected end of data"):
        records(tmp_path, 'a,b\n1,2\n"3\n4,5\n6,7\n')
    with pytest.raises(BadInput, match="line 1: two columns have the name 'a'"):
        records(tmp_path, "a, a\n1,2\n")


JSON = {
    "a list": ('{"text": ["a", "b"], "label": "x"}', "'text' is a list, not a text"),
    "an object": ('{"text": "a", "label": {"x": 1}}', "'label' is an object, not a text"),
    "NaN": ('{"text": "a", "label": NaN}', "is not JSON .NaN is not a JSON value"),
    "infinity": ('{"text": "a", "label": -Infinity}', "is not JSON .-Infinity is not a JSON value"),
    "null": ('{"text": "a", "label": null}', "no 'label' there"),
    "no label": ('{"text": "a", "label": " "}', "'label' is empty"),
    "a name twice": ('{"text": "a", "text": "b", "label": "x"}', "the name 'text' occurs twice"),
    "half a pair": ('{"text": "a\\ud83d b", "label": "p"}', r"half of a surrogate pair: write the whole character"),
    "the other half": ('{"text": "a", "\\uDE42": "p"}', r"half of a surrogate pair"),
    "nested": ('{"text": "a", "label": ' + "[" * 20_000 + "]" * 20_000 + "}", "nested too deep"),
    "a long number": ('{"text": "a", "label": ' + "1" * 5000 + "}", "is not JSON"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_that_is_no_text_and_label_is_refused(tmp_path, name):
    line, message = JSON[name]
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n' + line + "\n")
    with pytest.raises(BadInput, match=rf"t\.jsonl line 2:? .*{message}") as error:
        SentenceFiles(train_file=str(path), eval_file=str(path)).load()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_whole_surrogate_pairs_are_one_character(tmp_path):
    assert records(tmp_path, '{"a": "\\ud83d\\ude42"}', "t.jsonl") == [(1, {"a": "🙂"})]


def test_labels_are_sorted_by_number_where_all_are_numbers():
    assert sort_labels({"10", "9", "2", "0"}) == ("0", "2", "9", "10")
    assert sort_labels({"10", "9", "b"}) == ("10", "9", "b")
    assert sort_labels({"01", "1", "0"}) == ("0", "01", "1")


def test_white_space_around_a_label_is_not_part_of_it(tmp_path):
    (tmp_path / "t.csv").write_text(" text, label\n a , pos\nb,pos\u00a0\nc,pos \n")
    path = str(tmp_path / "t.csv")
    train, _, names = SentenceFiles(train_file=path, eval_file=path).load()
    assert train.texts == [" a ", "b", "c"]
    assert names == ("pos", "pos\u00a0")


def test_a_text_too_short_to_be_split_is_not_called_empty(tmp_path):
    (tmp_path / "short.txt").write_text("abc")
    data = Text(path=str(tmp_path / "short.txt"), tokenizer=Bytes(), batch=1, length=1)
    with pytest.raises(BadInput, match=r"short\.txt has 3 bytes, too few to split off 0\.1 of them"):
        data.train()
    whole = Text(path=str(tmp_path / "short.txt"), tokenizer=Bytes(), batch=1, length=1, eval_fraction=0)
    assert len(whole.train()) == 2
