"""The routes of OpenAI's API: texts, streams, usage and errors, as its clients expect them."""

import asyncio
import http.client
import json

import pytest

import jaxlm
from jaxlm.data.tokenizers.specs import ByteTokenizer
from jaxlm.models.gpt import GPT
from jaxlm.predict.continuations import TokenizeChats, language_writer
from jaxlm.predict.load import LoadedModel
from jaxlm.serve.batching import Busy
from jaxlm.serve.model import Batching
from jaxlm.serve.openai.routes import _all
from serve.served import service
from small_models import image_classifier, text_model, write_models

LONG = [{"role": "user", "content": "x" * 200}]


def chat_model():
    import jax
    import numpy as np

    model = GPT(vocab=256, depth=1, width=16, heads=2, context=128)
    variables = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(2), np.zeros((1, 4), np.int32)))
    read = TokenizeChats(tokenizer=ByteTokenizer(), context=128, template="plain")
    return LoadedModel(language_writer(model, read, (10, 10)), variables)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    write_models(home, texts=text_model(), chats=chat_model(), pictures=image_classifier())
    return home


@pytest.fixture(scope="module")
def client(home):
    with service([home / name for name in ("texts", "chats", "pictures")], batching=Batching(slots=4)) as found:
        yield found


def ask(client, path="/v1/completions", **fields):
    status, _, content = client.ask("POST", path, {"model": "texts", **fields})
    assert status == 200, content
    return content


def events(client, path="/v1/completions", **fields):
    """The events of a stream, without the last one, which is [DONE]."""
    status, headers, content = client.ask("POST", path, {"model": "texts", "stream": True, **fields})
    assert (status, headers.get_content_type()) == (200, "text/event-stream"), content
    lines = [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_greedy_text_is_that_of_predict(client, home):
    expected = jaxlm.load(home / "texts")(["the"], length=12)[0]["text"]
    found = ask(client, prompt="the", max_tokens=12, temperature=0)
    assert found["choices"] == [{"index": 0, "text": expected, "logprobs": None, "finish_reason": "length"}]
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}
    assert (found["object"], found["model"]) == ("text_completion", "texts")


def test_a_sampled_text_is_that_of_predict_with_its_seed(client, home):
    expected = jaxlm.load(home / "texts")(["the"], length=12, temperature=0.9, top_p=0.9, seed=7)[0]["text"]
    found = ask(client, prompt="the", max_tokens=12, temperature=0.9, top_p=0.9, seed=7)
    assert found["choices"][0]["text"] == expected


def test_a_stream_is_the_text_in_pieces(client):
    fields = {"prompt": ["the", "a"], "max_tokens": 12, "temperature": 1.0, "seed": 3, "n": 2}
    whole = [choice["text"] for choice in ask(client, **fields)["choices"]]
    found = events(client, **fields, stream_options={"include_usage": True})
    texts = ["", "", "", ""]
    for event in found[:-1]:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == whole
    assert found[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 48, "total_tokens": 52}
    assert len({event["id"] for event in found}) == 1


def test_a_stop_ends_a_text_and_is_not_in_it(client):
    fields = {"prompt": "the", "max_tokens": 20, "temperature": 1.0, "seed": 11}
    whole = ask(client, **fields)["choices"][0]["text"]
    stop = whole[6:8]
    cut = ask(client, **fields, stop=[stop, "never there"])["choices"][0]
    assert (cut["text"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def test_a_conversation_is_answered_and_streamed(client, home):
    messages = [{"role": "user", "content": "Hello"}]
    fields = {"model": "chats", "messages": messages, "temperature": 0, "max_tokens": 20}
    found = ask(client, "/v1/chat/completions", **fields)
    expected = jaxlm.load(home / "chats")([messages], length=20)[0]["text"]
    assert found["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert found["object"] == "chat.completion"
    stream = events(client, "/v1/chat/completions", **fields)
    assert stream[0]["object"] == "chat.completion.chunk"
    assert stream[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(event["choices"][0]["delta"]["content"] for event in stream) == expected
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
    assert ask(client, "/v1/chat/completions", **{**fields, "messages": parts})["choices"] == found["choices"]


@pytest.mark.parametrize(
    ("path", "fields", "status", "told"),
    [
        ("/v1/completions", {"prompt": "x" * 40}, 422, "context of 32"),
        ("/v1/completions", {"prompt": "x", "max_tokens": 32}, 422, "context of 32"),
        ("/v1/completions", {"prompt": "x", "logprobs": 3}, 422, "logprobs is not supported"),
        ("/v1/completions", {"prompt": "x", "unheard_of": 3}, 422, "unheard_of"),
        ("/v1/completions", {"prompt": "x", "temperature": -1}, 422, "temperature"),
        ("/v1/completions", {"prompt": "x", "top_p": 0}, 422, "top_p"),
        ("/v1/completions", {"prompt": "x", "stop": ["", "a"]}, 422, "stop"),
        ("/v1/completions", {"prompt": "x", "seed": 2**32}, 422, "seed"),
        ("/v1/completions", {"prompt": []}, 422, "prompts"),
        ("/v1/completions", {"prompt": "x", "model": "pictures"}, 422, "writes no texts"),
        ("/v1/completions", {"prompt": "x", "model": "none"}, 404, "no model"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, 422, "conversations"),
        ("/v1/chat/completions", {"model": "chats", "messages": []}, 422, "messages"),
        ("/v1/chat/completions", {"model": "chats", "messages": [{"role": [], "content": "x"}]}, 422, "role"),
        ("/v1/chat/completions", {"model": "chats", "messages": [{"role": "user"}]}, 422, "no text"),
        (
            "/v1/chat/completions",
            {"model": "chats", "messages": [{"role": "user", "content": "x" * 200}]},
            422,
            "context",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_before_a_stream_begins(client, path, fields, status, told):
    for stream in (False, True):
        found, _, content = client.ask("POST", path, {"model": "texts", "stream": stream, **fields})
        assert (found, told in content["error"]["message"]) == (status, True), content


def test_the_error_of_one_text_ends_the_others_of_a_request():
    ended = []

    async def refused():
        await asyncio.sleep(0)
        raise Busy(1.0)

    async def written(number):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def request():
        with pytest.raises(Busy):
            await _all([written(0), refused(), written(1)])
        return list(ended)

    assert asyncio.run(request()) == [0, 1]


def test_a_stream_that_is_dropped_leaves_no_slot(client):
    body = json.dumps({"model": "chats", "prompt": "x", "max_tokens": 120, "stream": True, "temperature": 1})
    for _ in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", client.port)
        connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        connection.getresponse().read(1)
        connection.close()
    found = [ask(client, model="chats", prompt="x", max_tokens=2) for _ in range(5)]
    assert all(one["usage"]["completion_tokens"] <= 2 for one in found)
    status, _, text = client.ask("GET", "/metrics")
    assert status == 200
    assert b'jaxlm_slots_used{model="chats"} 0.0' in text
