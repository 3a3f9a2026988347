"""Questions with their kind become conversations and preferences that the readers take."""

import runpy
import sys

from jaxlm.data.text.chat import read_pair
from jaxlm.data.text.conversation import read_lines, read_messages
from whole_path import ROOT

LINES = "LOC:city What is the capital of Peru ?\n" + "HUM:ind Who wrote Hamlet ?\n" * 19


def test_every_question_is_in_one_part_and_the_better_answer_is_its_kind(tmp_path, monkeypatch, capsys):
    (tmp_path / "train_5500.label").write_text(LINES, encoding="latin-1")
    monkeypatch.setattr(sys, "argv", ["prepare_trec_chat.py", str(tmp_path), str(tmp_path / "out")])
    runpy.run_path(str(ROOT / "scripts" / "prepare_trec_chat.py"), run_name="__main__")
    found = {part: list(read_lines(str(tmp_path / "out" / f"chat_{part}.jsonl"))) for part in ("train", "eval")}
    assert {part: len(lines) for part, lines in found.items()} == {"train": 18, "eval": 2}
    question, answer = read_messages(found["eval"][0])
    assert (question.content, answer.content) == ("What is the capital of Peru ?", "a place")
    pairs = [read_pair(line) for line in read_lines(str(tmp_path / "out" / "preferences_train.jsonl"))]
    assert {pair.chosen.content for pair in pairs} == {"a person"}
    assert {pair.rejected.content for pair in pairs} > {"a place", "a number"}
    assert "a person" not in {pair.rejected.content for pair in pairs}
    assert "18 lines" in capsys.readouterr().out
