"""What the files beside a vocabulary say about a tokenizer: markers, added tokens, splitting, and what is refused."""

import json
import shutil

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from jaxlm.data import Bytes, Pretrained, Words
from jaxlm.data.labelled_text.sources import SentenceFiles
from jaxlm.data.labelled_text.tag_sources import TagFiles
from jaxlm.data.tokenizers.convert import word_piece
from jaxlm.data.tokenizers.files import library_files
from jaxlm.data.tokenizers.protocol import Frame, Special
from jaxlm.errors import BadInput

NASTY = [
    "",
    " ",
    "\n\t\r\n",
    "Für schön, FÜR SCHÖN; fur schon",
    "漢字とカナ 漢 字",
    "naïve Cafe\u0301 — coöperate…",
    "🙂👩‍👩‍👧 \ufe0f a\u200b\u00ad\x00\ufffd\u2028b\x85c",
    "[CLS] [SEP] <s> </s> <|endoftext|> <unk> <mask> <|im_start|>",
    "fur [NEW] x[NEW]y <new> a<new>b <|Neu|> <|neu|>",
    "don't I'LL U.S.A. 3.14 1,000 12345 e-mail@x.org http://a.b/c?d=e",
    "İstanbul ſß ΣΑΣ ﬁ ²",
    "  two   spaces  \n\n\n  x",
    "a" * 150,
]
# Token, as "added_tokens_decoder" of tokenizer_config.json has it.
PLAIN = {"special": False, "normalized": True, "lstrip": False, "rstrip": False, "single_word": False}
FLAGGED = PLAIN | {"special": True, "normalized": False}
NEW, END = {"content": "<new>"} | PLAIN, {"content": "<|im_end|>"} | FLAGGED

BYTE_LEVEL = {
    "no options": {},
    "a class alone": {"tokenizer_config": {"tokenizer_class": "GPT2Tokenizer"}},
    "added tokens": {
        "tokenizer_config": {"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True, "pad_token": "<pad>"},
        "added_tokens": {"<new>": 262, "<pad>": 263},
        "special_tokens_map": {"bos_token": "<|endoftext|>"},
    },
    "a beginning": {"tokenizer_config": {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True}},
    "a null beginning": {
        "tokenizer_config": {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": None,
            "added_tokens_decoder": {"262": NEW | {"lstrip": True}},
        }
    },
    "roberta": {
        "tokenizer_config": {"tokenizer_class": "RobertaTokenizer"},
        "added_tokens": {"<s>": 262, "</s>": 263, "<pad>": 264, "<mask>": 265, "<unk>": 266},
    },
    "qwen2": {
        "tokenizer_config": {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "added_tokens_decoder": {"262": END, "263": {"content": "<|neu|>"} | PLAIN},
        }
    },
}


MERGES = ["Ġ a", "Ġ b", "1 2", "12 3", "e r"]


def byte_level_folder(folder, options):
    pieces = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    for name, content in options.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Pretrained(str(folder)).build([])


def bert_folder(folder, options, pieces=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b")):
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True} | options))
    return Pretrained(str(folder)).build([])


def case(real_data, name):
    return real_data / "cases" / "tokenizers" / name


def test_a_null_marker_is_an_answer(real_data, tmp_path):
    tokenizer = Pretrained(str(case(real_data, "tok_null_bos"))).build([])
    assert tokenizer.special == Special(pad=262, eos=264)
    files = library_files(tokenizer)
    assert json.loads(files["tokenizer_config.json"])["bos_token"] is None
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert Pretrained(str(tmp_path)).build([]) == tokenizer


def test_only_tokens_that_are_flagged_as_special_are_guessed(real_data, tmp_path):
    shutil.copy(case(real_data, "tok_null_bos") / "tokenizer.json", tmp_path)  # where <s> and <unk> are text
    assert Pretrained(str(tmp_path)).build([]).special == Special(bos=262, eos=262, unk=262)


def test_the_options_of_a_vocab_txt_are_read(real_data):
    tokenizer = Pretrained(str(case(real_data, "german"))).build([])
    assert [tokenizer.encode(text).tolist() for text in ("FÜR schön", "fur", "漢字", "fur [NEW] x[NEW]")] == [
        [5, 7],
        [6],
        [11],
        [6, 12, 1, 12],
    ]


def test_the_separators_of_unicode_are_pieces(real_data):
    tokenizer = Pretrained(str(case(real_data, "u2028")), lower=True).build([])
    assert tokenizer.vocab == 9
    assert tokenizer.encode("the whales").tolist() == [6, 8, 7]


def test_markers_of_other_names_frame_a_text(tmp_path):
    names = {"cls_token": "<c>", "sep_token": None, "unk_token": {"content": "<u>"}, "pad_token": "<p>"}
    tokenizer = bert_folder(tmp_path, names, ("<p>", "<c>", "<u>", "a", "##b"))
    assert tokenizer.frame() == Frame((1,))
    assert tokenizer.encode("ab c <c>").tolist() == [3, 4, 2, 2, 2, 2]
    assert tokenizer.special == Special(cls=1, unk=2, pad=0)


def test_each_kind_of_byte_level_vocabulary_is_split_and_framed_as_its_class_does(tmp_path):
    found = {}
    for number, (name, options) in enumerate(BYTE_LEVEL.items()):
        (tmp_path / str(number)).mkdir()
        found[name] = byte_level_folder(tmp_path / str(number), options)
    assert found["no options"].special == found["a class alone"].special == Special(bos=261, eos=261, unk=261)
    assert found["added tokens"].encode("a<new>").tolist() == [256, 262]
    assert found["a beginning"].frame(pair=True) == Frame((261,), (261,), second=1)
    assert found["a null beginning"].special == Special(eos=261, unk=261)
    assert found["roberta"].frame() == Frame((262,), (), (263,))
    assert found["qwen2"].special == Special(pad=261, eos=262)
    assert len(found["qwen2"].encode("1234")) == 4
    assert len(found["no options"].encode("1234")) == 2
    assert found["qwen2"].encode("e\u0301").tolist() == found["qwen2"].encode("é").tolist()


@pytest.mark.parametrize("name", [name for name, options in BYTE_LEVEL.items() if options])
def test_byte_level_vocabularies_give_the_ids_of_transformers(tmp_path, name):
    ours = byte_level_folder(tmp_path, BYTE_LEVEL[name])
    agrees_with_transformers(tmp_path, ours)


def test_files_of_whisper_are_split_as_those_of_gpt2(tmp_path):
    names = ["<|startoftranscript|>", "<|en|>"]
    files = {
        "tokenizer_config": {"tokenizer_class": "WhisperTokenizer"},
        "added_tokens": {name: 262 + number for number, name in enumerate(names)},
        "special_tokens_map": {"additional_special_tokens": names},
    }
    for folder in (tmp_path / "whisper", tmp_path / "gpt2"):
        folder.mkdir()
    ours, gpt2 = byte_level_folder(tmp_path / "whisper", files), byte_level_folder(tmp_path / "gpt2", {})
    for text in NASTY:
        assert ours.encode(text).tolist() == gpt2.encode(text).tolist()
    assert [ours.token(name) for name in names] == [262, 263]
    assert len(ours.frame()) == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strip_accents": False},
        {"strip_accents": True, "do_lower_case": False},
        {"tokenize_chinese_chars": False},
        {"tokenizer_class": "DistilBertTokenizer", "mask_token": None},
    ],
)
def test_vocab_txt_gives_the_ids_of_transformers(real_data, tmp_path, options):
    pieces = (real_data / "tokenizers" / "bert-base-uncased-vocab.txt").read_text(encoding="utf-8").split("\n")
    ours = bert_folder(tmp_path, {"tokenizer_class": "BertTokenizer"} | options, [piece for piece in pieces if piece])
    agrees_with_transformers(tmp_path, ours)


@pytest.mark.parametrize("name", ["german", "u2028"])
def test_cases_give_the_ids_of_transformers(real_data, tmp_path, name):
    shutil.copytree(case(real_data, name), tmp_path, dirs_exist_ok=True)
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    if not (tmp_path / "tokenizer_config.json").exists():
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    agrees_with_transformers(tmp_path, Pretrained(str(tmp_path)).build([]))


def agrees_with_transformers(folder, ours):
    """Assert that ids, frames and roles are those of transformers' own reader of a folder."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for role, index in vars(ours.special).items():
        name = getattr(theirs, f"{role}_token")
        assert index == (None if name is None else theirs.convert_tokens_to_ids(name)), role
    frame, pair = ours.frame(), ours.frame(pair=True)
    for text in NASTY:
        ids = ours.encode(text).tolist()
        assert [*frame.before, *ids, *frame.after] == theirs(text, split_special_tokens=True)["input_ids"], text
        if ours.frame(pair=True).between == (ours.special.bos,) and transformers.__version__ < "5":
            continue  # only from 5 on it puts the token that begins a text before the second one too
        both = theirs(text, "a b", split_special_tokens=True)["input_ids"]
        second = ours.encode("a b").tolist()
        assert [*pair.before, *ids, *pair.between, *second, *pair.after] == both, text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "names the class BertJapaneseTokenizer"),
        ({"do_basic_tokenize": False}, "'do_basic_tokenize' is False, which is not read"),
        ({"never_split": ["a"]}, "'never_split' is .'a'., which is not read"),
        ({"strip_accents": "no"}, "'strip_accents' is 'no': write true or false"),
        ({"added_tokens_decoder": {"9": {"content": "x"}}}, "the added token 'x' has the id 9 in the files and 7"),
        ({"added_tokens_decoder": [1]}, "have another form than transformers writes"),
        ({"added_tokens_decoder": {"7": {"content": 5}}}, "have another form than transformers writes"),
        ({"unk_token": 5}, "have another form than transformers writes"),
        ({"cls_token": "<s>"}, "the vocabulary has no <s>"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(tmp_path, options, message):
    with pytest.raises(BadInput, match=f"{tmp_path}.*{message}") as error:
        bert_folder(tmp_path, options)
    assert "\n" not in str(error.value)


def test_classes_that_split_otherwise_are_refused(tmp_path):
    with pytest.raises(BadInput, match="names the class CLIPTokenizer, whose way of splitting texts vocab.json"):
        byte_level_folder(tmp_path, {"tokenizer_config": {"tokenizer_class": "CLIPTokenizer"}})


def described(real_data):
    return json.loads((case(real_data, "tok_null_bos") / "tokenizer.json").read_text())


def split_by(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": split_by("(a+)+$")}, r"gives up \(Onig: Regex search error: retry-limit-in-match over\)"),
        ({"pre_tokenizer": split_by("(")}, "Oniguruma error: end pattern with unmatched parenthesis"),
        ({"pre_tokenizer": [[]] * 2}, "not a tokenizer.json"),
        ({"id": 2**32}, "expected u32"),
        ({"id": 2**32 - 1}, "has the id 4,294,967,295, past 16,777,216"),
        ({"id": "NESTED"}, "nested too deep"),
    ],
)
def test_hostile_files_are_one_line(real_data, tmp_path, capfd, change, message):
    found = described(real_data)
    if "id" in change:
        found["model"]["vocab"]["zz"] = change["id"]
        change = {}
    (tmp_path / "tokenizer.json").write_text(
        json.dumps(found | change).replace('"NESTED"', "[" * 20_000 + "]" * 20_000)
    )
    with pytest.raises(BadInput, match=message) as error:
        Pretrained(str(tmp_path)).build([])
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def unknown_free(folder):
    """A tokenizer that has no token for what it does not know."""
    found = json.loads(word_piece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], True))
    del found["model"]["vocab"]["[UNK]"]
    found["added_tokens"] = []
    found["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(found))
    return Pretrained(str(folder))


def test_a_text_that_a_tokenizer_has_no_token_for_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na a,x\na b,y\n")
    path = str(tmp_path / "t.csv")
    with pytest.raises(BadInput, match=r"t\.csv line 3: .*Missing \[UNK\] token from the vocabulary"):
        SentenceFiles(train_file=path, eval_file=path, tokenizer=unknown_free(tmp_path)).train()
    (tmp_path / "tags.txt").write_text("a O\na B-X\n\na O\nb O\n")
    with pytest.raises(BadInput, match=r"tags\.txt line 5: .*Missing \[UNK\] token from the vocabulary"):
        TagFiles(
            folder=str(tmp_path), train_file="tags.txt", eval_file="tags.txt", tag=1, tokenizer=unknown_free(tmp_path)
        ).train()


def test_a_word_without_a_piece_is_named_where_there_is_no_unknown_token(tmp_path):
    (tmp_path / "tags.txt").write_text("a O\na B-X\n\na O\n\u200b O\n")
    with pytest.raises(BadInput, match=r"tags\.txt line 5: the tokenizer has no piece for '\\u200b', and no unknown"):
        TagFiles(
            folder=str(tmp_path), train_file="tags.txt", eval_file="tags.txt", tag=1, tokenizer=unknown_free(tmp_path)
        ).train()


@pytest.mark.parametrize("tokenizer", [Bytes(), "bert", Words()])
def test_half_of_a_surrogate_pair_is_refused_or_unknown(tmp_path, tokenizer):
    found = bert_folder(tmp_path, {}) if tokenizer == "bert" else tokenizer.build(["a"])
    for text in ("a \ud83d b", "\udfff"):
        if isinstance(tokenizer, Words):
            assert 1 in found.encode(text)
        else:
            with pytest.raises(BadInput, match="half of a surrogate pair"):
                found.encode(text)
