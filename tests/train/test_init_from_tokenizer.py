"""Weights of an embedding are taken over with their own vocabulary only."""

import pytest

from jaxlm.data.tokenizers.compare import vocabulary_difference
from jaxlm.data.tokenizers.plain import CharacterTokenizer, WordTokenizer
from jaxlm.data.tokenizers.specs import Subwords
from shrunk_texts import text_words
from whole_path import ROOT, run_fails_with, run_main

TREC = ("text_classification.py", ROOT / "configs" / "lstm_trec.py")


def words_about(folder, replaced=None):
    """The words that train a small LSTM on questions, in which one word may be replaced by another."""
    folder.mkdir()
    words = text_words("lstm_trec", folder)
    for file in ("train_5500.label", "TREC_10.label"):
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace(*replaced) if replaced else text)
    return words


def test_another_vocabulary_is_refused_and_a_new_embedding_is_not(tmp_path, monkeypatch, capsys):
    source = str(tmp_path / "source")
    same, other = words_about(tmp_path / "same"), words_about(tmp_path / "other", (" the ", " thou "))
    run_main(monkeypatch, *TREC, *same, "--run.directory", source)
    start = ("--init.path", source, "--run.directory")
    error = run_fails_with(monkeypatch, capsys, *TREC, *other, *start, str(tmp_path / "refused"))
    assert "another tokenizer" in error
    assert "there and" in error
    assert "--init.fresh" in error
    assert not (tmp_path / "refused").exists()
    run_main(monkeypatch, *TREC, *same, *start, str(tmp_path / "again"))
    run_main(monkeypatch, *TREC, *other, "--init.fresh", "(^|/)embed/", *start, str(tmp_path / "fresh"))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (CharacterTokenizer("abc"), CharacterTokenizer("abc"), None),
        (CharacterTokenizer("abc"), CharacterTokenizer("abcd"), None),  # tokens more at its end
        (CharacterTokenizer("abc"), CharacterTokenizer("acb"), "token 1 is 'b' there and 'c' here"),
        (WordTokenizer(("a", "B"), False), WordTokenizer(("a", "B"), True), None),  # splits in another way
        (Subwords(300).build(["one two"] * 9), Subwords(300).build(["one two"] * 9), None),
    ],
)
def test_the_first_token_that_differs_is_named(one, other, difference):
    assert vocabulary_difference(one, other) == difference


def test_subwords_of_other_texts_differ():
    one, other = (Subwords(300).build([text] * 9) for text in ("one two three four", "five six seven eight"))
    assert "there and" in vocabulary_difference(one, other)
