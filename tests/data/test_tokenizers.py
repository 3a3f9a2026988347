import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jaxlm.data import BPE, Bytes, Characters, Symbols, load_tokenizer
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.protocol import Special, sentinel_name
from jaxlm.data.tokenizers.specs import SEPARATOR, BPETokenizer, ByteTokenizer, CharacterTokenizer, Subwords
from jaxlm.errors import BadInput

SAMPLE = "def main():\n    return 'naïve 漢字 🙂'\n" * 20


@cache
def bpe():
    """A small byte-level BPE, trained here."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([SAMPLE], trainer)
    return BPETokenizer(inner.to_str())


def characters(text=SAMPLE):
    return Characters().build([text])


def each():
    return [ByteTokenizer(), characters(), bpe()]


def agrees(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())
    assert np.issubdtype(ids.dtype, np.integer)
    assert ids.size == 0 or (ids.min() >= 0 and ids.max() < tokenizer.vocab)


@given(some.text())
def test_bytes_give_any_text_back(text):
    agrees(ByteTokenizer(), text)


@given(some.text(alphabet=sorted(set(SAMPLE))))
def test_characters_give_back_any_text_of_their_alphabet(text):
    agrees(characters(), text)


@given(some.text() | some.text(alphabet="adef <|endoftext|>\n"))
def test_bpe_gives_any_text_back_the_separator_spelt_out_too(text):
    agrees(bpe(), text)
    agrees(bpe(), text + SEPARATOR + text)


@given(some.lists(some.integers(-5, 400)))
def test_decoding_never_raises(ids):
    for tokenizer in each():
        assert isinstance(tokenizer.decode(ids), str)
        assert isinstance(tokenizer.decode(np.array(ids, np.int32)), str)


def test_what_is_no_text_becomes_the_replacement_character():
    assert ByteTokenizer().decode([97, 0xFF, 300, 98]) == "a\ufffd\ufffdb"
    assert CharacterTokenizer("ab").decode([0, 2, -1, 1]) == "a\ufffd\ufffdb"
    assert bpe().decode([*bpe().encode("a"), 9999, *bpe().encode("b")]) == "a\ufffdb"


@given(some.lists(some.sampled_from(["AH", "a", "<|endoftext|>", "\u3000x", "k"])))
def test_symbols_give_back_their_text_and_0_ends_it(symbols):
    tokenizer = Symbols().build(["AH a\tk", "<|endoftext|> \u3000x AH"])
    assert (tokenizer.vocab, tokenizer.separator) == (6, 0)
    ids = tokenizer.encode("  ".join(symbols))
    assert 0 not in ids
    assert tokenizer.decode(ids) == " ".join(symbols)
    assert load_tokenizer(tokenizer.to_json()) == tokenizer
    assert tokenizer.byte_lengths()[ids].sum() == sum(len(symbol.encode()) for symbol in symbols)
    assert tokenizer.decode([1, -1, 99]).endswith(" \ufffd \ufffd")


def test_a_symbol_that_was_not_in_the_training_text_is_named():
    with pytest.raises(BadInput, match="the symbol 'ah' is not among the 2 of the training text"):
        Symbols().build(["AH B"]).encode("B ah")


def test_the_alphabet_is_sorted_and_has_no_separator():
    assert characters("banana").alphabet == "abn"
    assert characters("banana").vocab == 3
    assert characters("banana").separator is None
    assert characters("nab").fingerprint() == characters("ban").fingerprint()


def test_separators_stand_for_no_text_in_bpe_and_for_nul_in_bytes():
    assert ByteTokenizer().separator == 0
    assert bpe().decode([bpe().separator]) == SEPARATOR
    assert bpe().byte_lengths()[bpe().separator] == 0
    assert bpe().separator not in bpe().encode(SEPARATOR)


def test_a_tokenizer_is_all_in_its_json():
    for tokenizer in each():
        again = load_tokenizer(tokenizer.to_json())
        assert again == tokenizer
        assert again.fingerprint() == tokenizer.fingerprint()
        assert np.array_equal(again.encode("return"), tokenizer.encode("return"))
    assert len({tokenizer.fingerprint() for tokenizer in each()}) == 3


def test_specs_are_values():
    assert (Bytes(), Characters(), BPE("a")) == (Bytes(), Characters(), BPE("a"))
    assert len({Bytes(), Characters(), BPE("a"), BPE("a"), BPE("b")}) == 4
    assert Bytes().build(["text"]) == ByteTokenizer()


def test_a_command_line_that_is_not_utf8_becomes_its_bytes():
    assert ByteTokenizer().encode("a\udcff").tolist() == [97, 0xFF]


def test_unknown_characters_are_named():
    with pytest.raises(BadInput, match="the character 'z' is not among the 3 of the training text"):
        characters("banana").encode("banz ")


def not_reversible():
    return json.dumps(json.loads(bpe().model) | {"normalizer": {"type": "Lowercase"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"kind": "words"}', "not one of bytes"),
        ("[]", "not one of bytes"),
        (json.dumps({"kind": "bpe", "model": "{}"}), "not a tokenizer.json"),
    ],
)
def test_damaged_tokenizers_are_refused(text, message):
    with pytest.raises(BadInput, match=message):
        load_tokenizer(text)


def test_bpe_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"train_tokenizer\.py"):
        BPE(str(tmp_path / "missing.json")).build([])
    for text, message in ((not_reversible(), "byte-level"), ("{}", r"bad\.json: not a tokenizer")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(BadInput, match=message):
            BPE(str(tmp_path / "bad.json")).build([])
    with pytest.raises(BadInput, match="directory"):
        BPE(str(tmp_path)).build([])


def test_sentinels_are_special_and_last_and_change_no_other_token():
    plain, spanned = Subwords(290).build([SAMPLE]), Subwords(300, sentinels=10).build([SAMPLE])
    assert (plain.vocab, spanned.vocab) == (290, 300)
    assert [spanned.token(sentinel_name(k)) for k in range(11)] == [*range(299, 289, -1), None]
    np.testing.assert_array_equal(spanned.encode(SAMPLE), plain.encode(SAMPLE))
    assert not spanned.byte_lengths()[290:].any()
    agrees(spanned, "spelt out: <extra_id_0>")


@pytest.mark.parametrize(("size", "sentinels"), [(256, 0), (300, 44), (300, -1)])
def test_a_vocabulary_without_room_for_all_bytes_is_refused(size, sentinels):
    with pytest.raises(BadInput, match="at least 257"):
        Subwords(size, sentinels).build([SAMPLE])


def test_the_tokenizer_of_a_run_is_read_by_another(tmp_path):
    tokenizer = Subwords(300, sentinels=4).build([SAMPLE])
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    assert BPE(str(tmp_path / "tokenizer.json")).build([]) == tokenizer


def test_a_target_begins_with_the_end_token_or_with_padding_as_in_t5():
    assert bpe().start == bpe().separator
    assert characters().start is None
    roles = {"eos": 1, "pad": 0}
    tokenizer = Subwords(300).build([SAMPLE])
    begins = {PretrainedTokenizer(tokenizer.model, Special(**roles, **more)).start for more in ({}, {"bos": 2})}
    assert begins == {0, 1}  # T5 and Marian; BART
    assert PretrainedTokenizer(tokenizer.model, Special(sep=3, pad=0)).start == 3
