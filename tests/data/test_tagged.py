from types import SimpleNamespace

import numpy as np
import pytest

from jaxlm.data import Pretrained, Words
from jaxlm.data.labelled_text.tag_sources import TagFiles, TfdsTags
from jaxlm.data.tokenizers.convert import word_piece
from jaxlm.errors import BadInput
from whole_path import write_conll2003

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ann", "##a", "in", "new", "york", ".", "o", "##x"]
CONLL = """-DOCSTART- -X- -X- O

Anna NNP B-NP B-PER
in IN B-PP O
New NNP B-NP B-LOC
York NNP I-NP I-LOC
. . O O

# NN B-NP O
"""


@pytest.fixture
def bert(tmp_path):
    (tmp_path / "tokenizer.json").write_text(word_piece(PIECES, True))
    return Pretrained(str(tmp_path / "tokenizer.json"))


def files(folder, train, held=CONLL):
    (folder / "train.txt").write_text(train)
    (folder / "valid.txt").write_text(held)
    return {"folder": str(folder)}


def test_only_the_first_piece_of_a_word_is_a_target(tmp_path, bert):
    data = TagFiles(**files(tmp_path, CONLL), tokenizer=bert, widths=(8, 12))
    assert data.names() == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    batch = data.eval()[0]
    row = int(np.flatnonzero(batch["tokens"][:, 1] == 5)[0])
    assert batch["tokens"].dtype == batch["targets"].dtype == np.int32
    assert batch["tokens"][row].tolist() == [2, 5, 6, 7, 8, 9, 10, 3]
    assert batch["targets"][row].tolist() == [0, 3, 0, 0, 1, 2, 0, 0]
    assert batch["mask"][row].tolist() == [0, 1, 0, 1, 1, 1, 1, 0]
    assert batch["segments"][row].tolist() == [1] * 8
    assert batch["tokens"][1 - row].tolist()[:3] == [2, 1, 3]
    assert batch["mask"].sum() == 6


def test_schemes_are_converted(tmp_path, bert):
    data = TagFiles(**files(tmp_path, CONLL), tokenizer=bert, scheme="BIOES")
    names = data.names()
    assert len(names) == 9
    found = data.eval()[0]
    words = found["targets"][found["mask"] > 0]
    assert [names[tag] for tag in words if tag] == ["S-PER", "B-LOC", "E-LOC"]
    first = CONLL.replace("B-PER", "I-PER").replace("B-LOC", "I-LOC")
    again = TagFiles(**files(tmp_path, first, first), tokenizer=bert, scheme="BIOES", given="IOB1")
    assert np.array_equal(again.eval()[0]["targets"], found["targets"])


def test_what_is_cut_and_unknown_is_told(tmp_path, bert):
    train = CONLL.replace("in IN", "\u200b\u200b IN")
    data = TagFiles(**files(tmp_path, train), tokenizer=bert, widths=(5,))
    lines = data.log_lines()[0]
    assert "3 words past 5 tokens cut off" in lines
    assert "1 words without a piece" in lines
    batch = data.train(0)[0]
    assert batch["tokens"][batch["tokens"][:, 1] == 5].tolist() == [[2, 5, 6, 1, 3]]
    assert batch["mask"].sum() == 3


def test_types_that_are_not_asked_for_are_outside_and_counted(tmp_path, bert):
    data = TagFiles(**files(tmp_path, CONLL), tokenizer=bert, types=("LOC",))
    assert data.names() == ("O", "B-LOC", "I-LOC")
    assert "1 entities, 1 entities of other types" in data.log_lines()[0]


def test_words_are_ids_of_their_own(tmp_path):
    data = TagFiles(**files(tmp_path, CONLL), tokenizer=Words(lower=False))
    batch = data.eval()[0]
    assert batch["mask"].sum() == 6
    assert data.build_tokenizer().vocab == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("in IN B-PP O", "in IN"), r"train\.txt line 4 has 2 columns, and the tag is column 3 from 0"),
        (("in IN B-PP O", "in IN B-PP O O"), r"train\.txt line 4 has 5 columns and the first word 4"),
        (("in IN B-PP O", "in IN B-PP I-PER2"), r"train\.txt line 4: I-PER2 after B-PER"),
        (("in IN B-PP O", "in IN B-PP X"), r"train\.txt line 4: 'X' is not a tag of BIO"),
        (("York NNP I-NP I-LOC", "York NNP I-NP I-PER"), r"train\.txt line 6: I-PER after B-LOC"),
        (("in IN B-PP O", "in\tIN\tB-PP\t"), r"train\.txt line 4 has no word or no tag"),
    ],
)
def test_broken_lines_are_named(tmp_path, change, message):
    with pytest.raises(BadInput, match=message) as error:
        TagFiles(**files(tmp_path, CONLL.replace(*change))).train(0)
    assert "\n" not in str(error.value)


def test_files_that_hold_nothing_of_use_are_named(tmp_path):
    cases = [
        ("-DOCSTART- -X- O O\n\n", "has no sentences"),
        ("a b c O\n", "no word of the training data is in an entity"),
    ]
    for train, message in cases:
        with pytest.raises(BadInput, match=message):
            TagFiles(**files(tmp_path, train)).train(0)
    with pytest.raises(BadInput, match=r"valid\.txt line 1: the type 'ORG' does not occur in the training data"):
        TagFiles(**files(tmp_path, CONLL, "a b c B-ORG\n")).train(0)
    with pytest.raises(BadInput, match="there is no file"):
        TagFiles(folder=str(tmp_path), train_file="none").train(0)
    with pytest.raises(BadInput, match="special tokens fill"):
        TagFiles(**files(tmp_path, CONLL), widths=(1,), tokenizer=Pretrained(str(written(tmp_path)))).train(0)


def written(folder):
    (folder / "tokenizer.json").write_text(word_piece(PIECES, True))
    return folder / "tokenizer.json"


def test_models_that_do_not_fit_are_told(tmp_path, bert):
    data = TagFiles(**files(tmp_path, CONLL), tokenizer=bert)
    data.check(SimpleNamespace(classes=5, encoder=SimpleNamespace(vocab=13)))
    with pytest.raises(BadInput, match="set --model.classes 5"):
        data.check(SimpleNamespace(classes=2, encoder=SimpleNamespace(vocab=13)))


def test_universal_ner_is_read_whole(real_data):
    data = TagFiles(
        folder=str(real_data / "uner_ewt"),
        train_file="en_ewt-ud-dev.iob2",
        eval_file="en_ewt-ud-test.iob2",
        word=1,
        tag=2,
        comments="#",
    )
    assert data.names() == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert data.log_lines()[1].startswith("eval data: 2,077 sentences, 25,097 words, 1,088 entities")
    assert data.eval().source.cells["mask"].sum() == 25_097


def test_tfds_by_name(tmp_path, monkeypatch, bert):
    write_conll2003(
        tmp_path, [["Anna", "in", "New", "York"], [], ["in"]], [["B-PER", "O", "B-LOC", "I-LOC"], [], ["O"]]
    )
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    data = TfdsTags(tokenizer=bert)
    assert data.names() == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert data.log_lines()[0].startswith("train data: 2 sentences, 5 words, 2 entities")
    for fields, message in (
        ({"tags": "pos"}, "no feature 'pos': it has ner, tokens"),
        ({"tags": "tokens"}, "'tokens' of conll2003 is not a sequence of tags"),
    ):
        with pytest.raises(BadInput, match=message):
            TfdsTags(**fields).train(0)
