"""What an encoder-decoder writes for raw texts is what its evaluation writes, in batches of any size."""

import dataclasses
import io

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from jaxlm import steps
from jaxlm.data.pairs import PairFiles
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.errors import BadInput
from jaxlm.metrics.text import translation_scores
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.models.transformer import Transformer
from jaxlm.optim import Adam
from jaxlm.parallel import local
from jaxlm.predict import Predictor, answer_all
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.written import DecodeWritten, TokenizeSources, written, written_preview, written_scores
from jaxlm.train import Config
from whole_path import ROOT

MODEL = Transformer(vocab=300, depth=1, width=16, heads=2)
LINES = [line.strip() for line in (ROOT / "LICENSE").read_text().splitlines() if line.strip()][:21]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The data, the function that writes, and variables whose texts differ."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{line}\t{line[::-1]}\n" for line in LINES))
    data = PairFiles(
        train_file=str(path), eval_file=str(path), tokenizer=Subwords(300), eval_batch=4, widths=(16, 48, 64)
    )
    write = in_evaluation(written(MODEL, BeamSearch(beams=2, ratio=0.2, extra=8), data.build_tokenizer()))
    variables = jax.tree.map(lambda x: 2 * x, jax.jit(MODEL.init)(jax.random.key(0), *data.example()))
    return data, write, variables


def predictor_of(data, write):
    tokenizer = data.build_tokenizer()
    examples = tuple(
        {name: np.zeros((data.eval_batch, width), np.int32) for name in ("tokens", "source_segments")}
        for width in data.widths
    )
    halves = TokenizeSources(tokenizer, data.widths, clean=data.clean), DecodeWritten(tokenizer)
    return Predictor(halves[0], write, halves[1], examples)


def test_answers_are_those_of_the_evaluation_in_batches_of_any_size(case):
    data, write, variables = case
    decode, apply, expected = DecodeWritten(data.build_tokenizer()), jax.jit(write), {}
    batches = data.eval()
    for index in range(len(batches)):
        batch = batches[index]
        tokens = np.asarray(apply(variables, batch)["written"])
        expected |= {int(batch["row"][row]): decode.text(tokens[row]) for row in np.flatnonzero(batch["mask"])}
    assert len(set(expected.values())) > 3
    for size in (None, 1, 7):
        found = list(answer_all(predictor_of(data, write), variables, LINES, batch=size))
        assert [answer["text"] for answer in found] == [expected[row] for row in range(len(LINES))]


@pytest.mark.parametrize(("text", "words"), [("  ", "an empty text"), (3, "not a text"), ("a b " * 100, "one by one")])
def test_what_cannot_be_translated_is_one_line(case, text, words):
    data, write, _ = case
    (found,) = predictor_of(data, write).preprocess([text])
    assert isinstance(found, BadInput)
    assert words in str(found)


@pytest.mark.parametrize("fields", [{"beams": 0}, {"penalty": -1.0}, {"extra": 0}, {"ratio": -0.5}])
def test_a_search_out_of_its_range_is_refused(fields):
    with pytest.raises(BadInput, match="decode is"):
        BeamSearch(**fields)


def test_a_longer_text_is_cut_where_that_is_asked_for_and_the_answer_says_so(case):
    data, write, variables = case
    predictor = predictor_of(data, write)
    cut = dataclasses.replace(predictor, preprocess=dataclasses.replace(predictor.preprocess, cut=True))
    long, short = LINES[0] + " a b" * 100, LINES[0]
    found = list(answer_all(cut, variables, [long, short]))
    read = len(data.build_tokenizer().encode(long))
    assert found[0]["cut"] == read - (data.widths[-1] - 1)
    assert "cut" not in found[1]


def test_names_of_sentinels_are_sentinels_where_that_is_asked_for():
    tokenizer = Subwords(300, sentinels=4).build(LINES)
    read = TokenizeSources(tokenizer, (32,), sentinels=True)
    (row,) = next(read(["a <extra_id_1> b <extra_id_9>"])).rows
    ids = row["tokens"][row["source_segments"] > 0][:-1]
    assert tokenizer.token("<extra_id_1>") in ids
    assert tokenizer.decode(ids) == "a <extra_id_1> b <extra_id_9>"
    assert next(read(["<extra_id_1>"])).rows[0]["tokens"][0] == tokenizer.token("<extra_id_1>")
    plain = TokenizeSources(tokenizer, (32,))
    for text in ("a <extra_id_1> b", "<extra_id_1>"):
        assert tokenizer.token("<extra_id_1>") not in next(plain([text])).rows[0]["tokens"]


@pytest.mark.parametrize("model", [MODEL, LSTMTextToText(vocab=MODEL.vocab, width=8)], ids=["transformer", "LSTM"])
def test_the_preview_has_texts_and_a_picture_of_the_attention_of_each(case, model):
    data = case[0]
    variables = jax.tree.map(lambda x: 2 * x, jax.jit(model.init)(jax.random.key(0), *data.example()))
    config = Config(model, data, Adam(), decode=BeamSearch(beams=2, ratio=0.2, extra=8))
    state = steps.new_state(variables["params"], optax.sgd(0.1), jax.random.key(0))
    outputs = written_scores(config, translation_scores).outputs
    files = dict(written_preview(config, outputs, local())(state))
    texts = files.pop("written.txt")
    batch = data.eval()[0]
    first = LINES[int(batch["row"][0])]
    assert texts.startswith(f"source: {first}\nreference: {first[::-1]}\nwritten: ")
    assert texts.count("written: ") == 2  # of the narrowest rows, which come first
    assert list(files) == ["alignment-0.png", "alignment-1.png"]
    for content in files.values():
        with Image.open(io.BytesIO(content)) as picture:
            assert min(picture.size) > 100
    again = written_preview(config, outputs, local())(state)
    assert all(again[name] == content for name, content in files.items())
