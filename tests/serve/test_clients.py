"""Programs of others: OpenAI's client, and a tester that reads the OpenAPI description."""

import json
import socket
import subprocess
import sys

import pytest

from jaxlm.serve.feedback.store import Store
from serve.served import service
from serve.test_openai import chat_model
from small_models import image_classifier, text_model, write_models

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-more-than-16-characters"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    write_models(home, pictures=image_classifier(), texts=text_model(), chats=chat_model())
    store = Store(str(home / "told.db"))
    with service([home / name for name in ("pictures", "texts", "chats")], token=TOKEN, store=store) as found:
        yield found
    store.close()


def test_the_official_client_talks_to_a_service(client):
    openai = pytest.importorskip("openai", reason="pip install openai")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key=TOKEN, max_retries=0) as asking:
        assert [one.id for one in asking.models.list()] == ["pictures", "texts", "chats"]
        found = asking.completions.create(model="texts", prompt="the", max_tokens=8, temperature=0)
        assert (found.usage.completion_tokens, found.choices[0].finish_reason) == (8, "length")
        stream = asking.completions.create(model="texts", prompt="the", max_tokens=8, temperature=0, stream=True)
        assert "".join(event.choices[0].text for event in stream) == found.choices[0].text
        messages = [{"role": "user", "content": "Hello"}]
        fields = {"model": "chats", "messages": messages, "max_completion_tokens": 12, "seed": 3}
        answer = asking.chat.completions.create(**fields)
        assert answer.choices[0].message.role == "assistant"
        stream = asking.chat.completions.create(**fields, stream=True)
        assert "".join(event.choices[0].delta.content for event in stream) == answer.choices[0].message.content
        with pytest.raises(openai.NotFoundError, match="no model"):
            asking.completions.create(model="none", prompt="x")
        with pytest.raises(openai.UnprocessableEntityError, match="context of 32"):
            asking.completions.create(model="texts", prompt="x" * 99)
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="wrong", max_retries=0) as nobody,
        pytest.raises(openai.AuthenticationError, match="token"),
    ):
        nobody.models.list()


def test_no_request_that_the_description_allows_or_forbids_breaks_the_service(client, tmp_path):
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{client.port}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {TOKEN}", "--max-examples", "40", "--seed", "1"]
    command += ["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_nasty_bodies_are_answered_below_500_and_cost_little(client):
    deep = b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    bodies = [
        deep,
        b'{"inputs": [' + b"1," * 1_000_000 + b"1]}",
        json.dumps({"inputs": [{"base64": "A" * 1_000_000}], "model": "pictures"}).encode(),
        json.dumps({"inputs": ["x" * 1_000_000], "model": "texts"}).encode(),
        json.dumps({"model": "texts", "prompt": "\\u0000" * 1000, "max_tokens": 1}).encode(),
        b"\x00" * 1_000_000,
        b"9" * 1_000_000,
        json.dumps({"id": "x", "label": "a", "rating": 1e308}).encode(),
    ]
    for body in bodies:
        for path in ("/v1/predict", "/v1/completions", "/v1/chat/completions", "/v1/feedback", "/admin/reload"):
            status, _, content = client.ask("POST", path, body)
            assert status < 500, (path, body[:40], content)
    with socket.create_connection(("127.0.0.1", client.port)) as line:  # refused before it is sent
        head = ["POST /v1/predict HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "Content-Length: 100000000"]
        line.sendall("\r\n".join([*head, "", ""]).encode() + b"x" * 1000)
        assert line.recv(100).startswith(b"HTTP/1.1 413")
