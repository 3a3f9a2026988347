"""A WordPiece vocabulary of a text: the same every time, whole on its text, and in the form of BERT's."""

import pytest

from jaxlm.data import WordPiece, load_tokenizer
from jaxlm.errors import BadInput

TEXT = [f"The {word}, ünder 5° of frost: {word}ing! {word}s " for word in ("walk", "talk", "play", "stay")] * 3


def test_the_same_text_gives_the_same_tokenizer():
    """The library's trainer alone gives another order of ids in every call."""
    assert len({WordPiece(90).build(iter(TEXT)).to_json() for _ in range(5)}) == 1


@pytest.mark.parametrize("lower", [True, False])
def test_every_word_of_the_text_is_made_of_pieces(lower):
    tokenizer = WordPiece(90, lower).build(TEXT)
    ids = tokenizer.encode(TEXT[0])
    assert tokenizer.special.unk not in ids
    assert tokenizer.vocab <= 90
    expected = (
        "the walk, under 5° of frost : walking! walks" if lower else "The walk, ünder 5° of frost : walking! walks"
    )
    assert tokenizer.decode(ids) == expected
    assert tokenizer.special.unk in tokenizer.encode("Zebra")
    assert load_tokenizer(tokenizer.to_json()) == tokenizer


def test_frequent_words_are_one_piece_and_rare_ones_several():
    tokenizer = WordPiece(90).build(TEXT)
    assert len(tokenizer.encode("walk")) == 1
    assert len(tokenizer.encode("frosting")) > 1
    begins = tokenizer.word_beginnings()[tokenizer.encode("walk frosting, stay")]
    assert begins[0]
    assert begins.sum() == 4


def test_a_text_or_a_size_that_gives_no_vocabulary_is_one_clear_line():
    with pytest.raises(BadInput, match=r"^tokenizer.size is 20: this text has \d+ special and single characters alone"):
        WordPiece(20).build(TEXT)
    with pytest.raises(BadInput, match="^the text has no word"):
        WordPiece().build([" \n"])
