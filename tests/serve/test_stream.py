"""Pieces of text are together the text, never half a character, and never past a stop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.tokenizers.specs import ByteTokenizer, Words
from jaxlm.predict.continuations import DecodeTokens, Prompt
from jaxlm.serve.openai.stream import TextStream

BYTES = ByteTokenizer()


def streamed(tokens, prompt=(), **options):
    stream = TextStream(options.pop("tokenizer", BYTES), prompt, **options)
    pieces = []
    for token in tokens:
        pieces.append(stream.push(token))
        if stream.ended:
            break
    return [*pieces, stream.finish()]


@given(st.text(max_size=12), st.text(max_size=12))
def test_pieces_are_the_text_and_whole_characters(prompt, text):
    pieces = streamed(list(text.encode()), list(prompt.encode()))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in text


@given(st.lists(st.integers(0, 255), max_size=12))
def test_bytes_that_are_no_text_give_what_the_whole_gives(tokens):
    expected = DecodeTokens(BYTES)([{"new": np.array(tokens, np.int32)}], Prompt([65], len(tokens)))["text"]
    assert "".join(streamed(tokens, [65])) == expected


@given(st.text("abc", max_size=20), st.lists(st.text("abc", min_size=1, max_size=3), max_size=3))
def test_a_text_ends_before_the_first_stop(text, stops):
    places = [text.find(stop) for stop in stops if stop in text]
    assert "".join(streamed(list(text.encode()), stops=stops)) == text[: min(places, default=len(text))]


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=3))
def test_a_text_ends_before_the_tokens_that_end_it(text, end):
    expected = text[: text.find(end)] if end in text else text
    assert "".join(streamed(list(text.encode()), [65], end=list(end.encode()))) == expected


def test_a_piece_comes_as_soon_as_it_is_certain():
    assert streamed(b"ab\ncd", stops=["\n\n"]) == ["a", "b", "", "\nc", "d", ""]
    assert streamed("é".encode()) == ["", "é", ""]


@pytest.mark.parametrize("text", ["one two three two one", "three"])
def test_words_keep_their_spaces(text):
    tokenizer = Words().build(["one two three"])
    tokens = tokenizer.encode(text).tolist()
    for cut in range(1, len(tokens)):
        new = "".join(streamed(tokens[cut:], tokens[:cut], tokenizer=tokenizer))
        assert tokenizer.decode(tokens[:cut]) + new == tokenizer.decode(tokens)
