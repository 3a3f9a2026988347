import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jaxlm.data import BPE, Characters, Text
from jaxlm.data.text import corpus
from jaxlm.data.text import specs as text_module
from jaxlm.data.text.documents import character_boundary, find_files
from jaxlm.errors import BadInput


@pytest.fixture
def folder(tmp_path):
    """Twelve files of text in two folders, and some that are none."""
    for number in range(12):
        place = tmp_path / "texts" / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02}.txt").write_text("file 0123456789: é" + "é" * number + "\n", encoding="utf-8")
    (tmp_path / "texts" / "picture.png").write_bytes(b"\xff\x00")
    (tmp_path / "texts" / ".hidden.txt").write_bytes(b"\xff")
    return tmp_path / "texts"


def file_of(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    return str(path)


def all_targets(data):
    return np.concatenate([batch["targets"][batch["mask"] > 0] for batch in data])


def test_the_default_is_the_standard_library_without_its_tests():
    root, files = find_files(None)
    names = {path.relative_to(root).as_posix() for path in files}
    assert {"argparse.py", "json/decoder.py"} <= names
    assert not any("site-packages" in name or "/test" in name or name.startswith("test/") for name in names)
    data = Text(batch=4, length=16)
    assert data.check(SimpleNamespace(context=16, vocab=256)) is None
    assert set(data.train(0)[0]) == {"tokens", "targets", "segments", "mask"}
    assert len(data.eval()) * 4 * 16 > 100_000


def test_a_file_is_memory_mapped_and_its_tail_is_for_evaluation(tmp_path):
    data = Text(path=file_of(tmp_path, bytes([*range(1, 13), *range(14, 102)])), length=10, batch=3)
    training = data.train(0).source.stream
    assert isinstance(training.tokens, np.memmap)
    assert training.tokens.tolist() == [*range(1, 13), *range(14, 92)]
    assert all_targets(data.eval()).tolist() == list(range(93, 102))
    assert set(data.train(0)[0]) == {"tokens", "targets"}
    assert set(data.eval()[0]) == {"tokens", "targets", "mask"}


@given(some.text(some.characters(codec="utf-8", min_codepoint=128), min_size=2, max_size=30), some.floats(0, 1))
def test_a_text_is_cut_before_a_character(text, share):
    content = np.frombuffer(text.encode(), np.uint8)
    cut = character_boundary(content, round(len(content) * share))
    assert content[:cut].tobytes().decode() + content[cut:].tobytes().decode() == text


def test_every_tenth_file_of_a_folder_is_for_evaluation(folder):
    data = Text(path=str(folder), length=8, batch=2)
    ninth = "b/06.txt"  # a/01 a/03 a/05 a/07 a/09 a/11 b/00 b/02 b/04 b/06 b/08 b/10
    expected = (folder / ninth).read_bytes() + b"\0"
    assert bytes(data._load().evaluation.tokens) == expected
    assert len(data._load().training.starts) == 11
    few = Text(path=str(folder / "a"), length=8, batch=2)
    assert bytes(few._load().evaluation.tokens) == (folder / "a" / "11.txt").read_bytes() + b"\0"


def test_empty_files_among_others_are_no_documents(folder):
    (folder / "a" / "00.txt").write_text("")
    starts = Text(path=str(folder), length=8, batch=2)._load().training.starts
    assert (np.diff(starts) > 0).all()


def test_characters_come_from_the_training_text(folder):
    data = Text(path=str(folder), length=8, batch=2, tokenizer=Characters())
    assert data.build_tokenizer().alphabet == "".join(sorted(set("file 0123456789:é\n")))
    assert data.train(0).source.stream.tokens.dtype == np.uint8


def test_packed_rows_and_joined_documents_come_from_the_same_spec(folder):
    data = Text(path=str(folder), length=32, batch=2)
    packed = dataclasses.replace(data, pack=True)
    assert "positions" in packed.train(0)[0]
    assert sorted(all_targets(packed.eval())) == sorted(all_targets(data.eval()))
    assert set(dataclasses.replace(data, segments=False).train(0)[0]) == {"tokens", "targets"}
    with pytest.raises(BadInput, match="segments=True"):
        dataclasses.replace(packed, segments=False).train(0)


def test_the_example_is_a_row_of_zeros():
    assert Text(length=12).example().tolist() == [[0] * 12]
    assert Text().example().dtype == np.int32


def test_the_fingerprint_changes_with_content_seed_and_length_and_only_then(folder, tmp_path):
    data = Text(path=str(folder), length=8, batch=2)
    same = data.train(0).fingerprint()
    moved = tmp_path / "moved"
    os.rename(folder, moved)
    data = dataclasses.replace(data, path=str(moved))
    assert data.train(0).fingerprint() == same
    assert dataclasses.replace(data, eval_batch=5).train(0).fingerprint() == same
    found = {same, data.train(1).fingerprint(), data.eval().fingerprint()}
    changes = [{"length": 9}, {"batch": 3}, {"tokenizer": Characters()}, {"segments": False}, {"pack": True}]
    found |= {dataclasses.replace(data, **change).train(0).fingerprint() for change in changes}
    (moved / "a" / "01.txt").write_text("file 0123456789: 1\n")
    found.add(data.train(0).fingerprint())
    assert len(found) == 3 + len(changes) + 1


def test_where_documents_end_is_part_of_the_content(tmp_path):
    for name, texts in (("one", ("ab", "c", "d")), ("two", ("a", "bc", "d"))):
        (tmp_path / name).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / name / f"{number}.txt").write_text(text)
    one, two = (Text(path=str(tmp_path / name), length=1, batch=1).train(0) for name in ("one", "two"))
    assert one.fingerprint() != two.fingerprint()


def test_a_text_is_tokenised_once(folder, monkeypatch):
    calls = []
    monkeypatch.setattr(text_module, "build_corpus", lambda *given: calls.append(1) or corpus.build_corpus(*given))
    data = Text(path=str(folder), length=8, batch=2)
    for length in (8, 9):
        again = dataclasses.replace(data, length=length, batch=3)
        again.check(SimpleNamespace(context=16, vocab=256))
        again.train(3)
        again.eval()
    assert len(calls) == 1


@settings(max_examples=20)
@given(some.text(min_size=20, max_size=200).filter(lambda text: len(text.encode()) > 20), some.integers(4, 40))
def test_cutting_in_pieces_loses_nothing(tmp_path_factory, text, piece):
    path = tmp_path_factory.mktemp("pieces") / "text.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxlm.data.text.documents.PIECE", piece)
        (document,), _ = Text(path=str(path), eval_fraction=0.0).documents()
        pieces = list(document.pieces())
    assert "".join(pieces) == text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert all(len(found.encode()) <= piece for found in pieces)


def test_large_texts_are_kept_in_files_that_give_the_same_batches(folder, tmp_path, monkeypatch):
    data = Text(path=str(folder), length=8, batch=2, tokenizer=Characters())
    expected = data.train(0)
    monkeypatch.setenv("JAXLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus, "LARGE", 0)

    def read():
        text_module._load.cache_clear()
        found = data.train(0)
        assert found.fingerprint() == expected.fingerprint()
        assert all(np.array_equal(found[9][name], values) for name, values in expected[9].items())
        return isinstance(found.source.stream.tokens, np.memmap)

    assert read()
    files = sorted((tmp_path / "cache").rglob("*.*"))
    assert len(files) == 4
    assert read()
    for path in files:
        if path.suffix == ".bin":
            path.write_bytes(path.read_bytes()[:-1])
    assert not read()
    monkeypatch.setenv("JAXLM_CACHE", str(folder / "a" / "01.txt"))
    assert not read()


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"", {}, "is empty"),
        (b"abc\xffdef" * 20, {}, r"line 1 is not UTF-8 text \(byte 3 is 0xff\)"),
        (b"abcdefgh", {"length": 20}, "rows of 20 tokens need 21, and the training text has 7"),
        (b"abcdefgh" * 9, {"length": 8, "batch": 50}, "larger than the 7 rows"),
        (b"abcdefgh" * 9, {"length": 8, "eval_fraction": 0.9}, "from 0 to 0.5"),
        (b"abcdefgh" * 9 + b"z" * 5, {"length": 8, "tokenizer": Characters()}, "character 'z' is not among the 8"),
        (b"abcdefgh" * 9, {"length": 8, "tokenizer": BPE("/nowhere.json")}, "no tokenizer at"),
        (b"abcdefgh" * 9, {"length": 65}, r"longer than the model's context of 64"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(tmp_path, content, fields, message):
    with pytest.raises(BadInput, match=message) as raised:
        Text(path=file_of(tmp_path, content), **({"batch": 1, "length": 8} | fields)).check(
            SimpleNamespace(context=64, vocab=256)
        )
    assert "\n" not in str(raised.value)


def test_places_without_text_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no text at"):
        Text(path=str(tmp_path / "missing")).check(SimpleNamespace(context=128, vocab=256))
    with pytest.raises(BadInput, match="no text files in"):
        Text(path=str(tmp_path)).check(SimpleNamespace(context=128, vocab=256))
    (tmp_path / "a.txt").write_bytes(b"a" * 300)
    (tmp_path / "b.txt").write_bytes(b"a" * 300 + b"\xc3")
    with pytest.raises(BadInput, match=r"b\.txt line 1 is not UTF-8 text \(byte 300 is 0xc3\)"):
        Text(path=str(tmp_path)).check(SimpleNamespace(context=128, vocab=256))
    (tmp_path / "b.txt").write_bytes(b"a" * 300)
    with pytest.raises(BadInput, match="tokenizer has 256 tokens and the model's vocabulary 100"):
        Text(path=str(tmp_path), batch=1).check(SimpleNamespace(context=128, vocab=100))
    with pytest.raises(BadInput, match="no evaluation text"):
        Text(path=str(tmp_path), eval_fraction=0.0).eval()


def test_importing_data_imports_nothing_heavy():
    heavy = "jax", "flax", "grain", "tensorflow_datasets", "tokenizers", "scipy"
    line = f"import sys, jaxlm.data; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True).stdout == "[]\n"
