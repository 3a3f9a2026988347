import time
from types import SimpleNamespace

import numpy as np
import pytest

from jaxlm.data import BPE, Characters, TfdsText
from jaxlm.data.tfds import find_dataset
from jaxlm.errors import BadInput


@pytest.fixture
def tfds_folder(real_data, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(real_data / "tfds"))
    return real_data / "tfds"


@pytest.mark.usefixtures("tfds_folder")
def test_tiny_shakespeare_is_one_document_of_65_characters():
    data = TfdsText(tokenizer=Characters(), batch=12, length=64)
    data.check(SimpleNamespace(context=64, vocab=65))
    assert data.build_tokenizer().vocab == 65
    assert data.train(0).source.stream.tokens.shape == (1_003_854,)
    assert set(data.train(0)[0]) == {"tokens", "targets"}
    assert data.build_tokenizer().decode(data.eval()[0]["tokens"][0]).startswith("?\n\nGREMIO:\nGood morrow")
    assert sum(batch["mask"].sum() for batch in data.eval()) == 55_769


@pytest.mark.usefixtures("tfds_folder")
def test_splits_add_up_to_several_documents():
    data = TfdsText(eval_split="validation+test", train_split="validation", batch=12, length=64)
    stream = data.eval().source.stream
    assert stream.starts.tolist() == [0, 55_771]
    assert stream.tokens[55_770] == 0


@pytest.mark.usefixtures("tfds_folder")
def test_sentences_are_documents_and_fill_packed_rows():
    data = TfdsText(name="glue/sst2", feature="sentence", train_split="validation", pack=True, batch=8, length=256)
    assert len(data.train(0).source.stream.starts) == 872
    assert data.train(0).source.fill > 0.95
    assert data.train(0)[0]["segments"].max() > 1


@pytest.mark.usefixtures("tfds_folder")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature": "txt"}, "no text feature 'txt': it has text"),
        ({"name": "glue/sst2", "feature": "label"}, "no text feature 'label': it has sentence"),
        ({"train_split": "trian"}, "no split 'trian': it has train, validation, test"),
        ({"name": "lm1b"}, r"prepare_tfds\.py lm1b"),
        ({"name": "glue"}, "not prepared"),
        ({"name": ""}, "not prepared"),
        ({"tokenizer": BPE("/nowhere.json")}, "no tokenizer at"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(fields, message):
    with pytest.raises(BadInput, match=message):
        TfdsText(**fields).check(SimpleNamespace(context=128, vocab=256))


def test_a_dataset_that_is_not_prepared_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(BadInput, match=r"run `python scripts/prepare_tfds\.py tiny_shakespeare` once"):
        TfdsText().train(0)
    assert time.monotonic() - start < 1


def test_the_newest_prepared_version_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for version in ("1.9.0", "1.10.0", "incomplete.2", "2.0.0"):
        (tmp_path / "name" / version).mkdir(parents=True)
        if version != "2.0.0":
            (tmp_path / "name" / version / "dataset_info.json").write_text("{}")
    assert find_dataset("name").name == "1.10.0"


@pytest.mark.usefixtures("tfds_folder")
def test_batches_are_the_text_itself():
    data = TfdsText(train_split="test", eval_split="", batch=2, length=32)
    text = data.train(0).source.stream.tokens
    batch = data.train(0)[0]
    for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
        assert tokens.astype(np.uint8).tobytes() in text.tobytes()
        assert np.array_equal(tokens[1:], targets[:-1])
