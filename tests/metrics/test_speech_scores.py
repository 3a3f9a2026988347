"""Error rates are jiwer's over all texts at once, however they were split into batches; empty references too."""

import sys

import pytest

from jaxlm.errors import BadInput
from jaxlm.metrics import compute, merge
from jaxlm.metrics.speech import ErrorRate, show_alignment, speech_scores

jiwer = pytest.importorskip("jiwer")
SAID = ["seven one nine", "two", "", "zero zero four five", "a b c"]
HEARD = ["seven nine two", "two", "noise", "zero four five five", ""]


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (1, 1, 1, 1, 1), (2, 3)])
def test_merged_rates_are_those_of_the_corpus(sizes):
    parts, start = [], 0
    for size in sizes:
        parts.append(speech_scores(HEARD[start : start + size], SAID[start : start + size]))
        start += size
    expected = {"wer": jiwer.wer(SAID, HEARD), "cer": jiwer.cer(SAID, HEARD), "utterance_error": 0.8}
    assert compute(merge(*parts)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("said", "heard", "wer", "cer"), [("", "", 0, 0), ("", "a b", 2, 3), ("a", "", 1, 1)])
def test_nothing_said_is_as_jiwer_has_it(said, heard, wer, cer):
    found = compute(speech_scores([heard], [said]))
    assert (found["wer"], found["cer"]) == (wer, cer) == (jiwer.wer(said, heard), jiwer.cer(said, heard))


def test_the_alignment_shows_which_words_were_wrong():
    assert ErrorRate.from_texts(["seven nine two"], ["seven one nine"]) == (1, 2, 0, 0)
    lines = show_alignment(["seven nine two"], ["seven one nine"]).splitlines()
    assert any(line.startswith("REF: seven  one nine") for line in lines)
    assert any(line.split() == ["S", "S"] for line in lines)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(BadInput, match=r'jiwer is needed[^\n]+pip install "jaxlm\[speech\]"$'):
        speech_scores(["a"], ["a"])
