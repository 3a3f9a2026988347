"""A service answers what the model answers, refuses what it must, and says why."""

import base64
import contextlib
import io
import json
import re
import shutil
import socket

import pytest
from PIL import Image

import jaxlm
from jaxlm.errors import BadInput
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.serve.app import Limits
from jaxlm.serve.limits import read_tokens
from jaxlm.serve.model import Batching
from serve.served import Client, service
from small_models import image_classifier, images, text_model, write_models

TOKEN = "a-token-of-more-than-16-characters"


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(content, "PNG")
    return {"base64": base64.b64encode(content.getvalue()).decode()}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    """Two artefacts, of images and of texts."""
    home = tmp_path_factory.mktemp("artefacts")
    write_models(home, pictures=image_classifier(), texts=text_model())
    return home


@pytest.fixture(scope="module")
def client(artefacts):
    batching = Batching(fixed=True)
    with service([artefacts / "pictures", artefacts / "texts"], batching=batching) as found:
        yield found


def test_answers_are_those_of_the_model_bit_for_bit_whoever_shares_the_batch(client, artefacts):
    given = images(10)
    expected = jaxlm.load(artefacts / "pictures")(given, batch=6)
    together = client.predict([png(one) for one in given], model="pictures")
    alone = [client.predict([png(one)], model="pictures")["answers"][0] for one in given]
    assert together["answers"] == expected == alone
    texts = ["a", "the licence", "more of it"]
    assert client.predict(texts, model="texts")["answers"] == jaxlm.load(artefacts / "texts")(texts, batch=8)


def test_options_are_those_of_the_predictor(client):
    answer = client.predict([png(images(1)[0])], model="pictures", options={"top": 1})["answers"][0]
    assert len(answer["probabilities"]) == 1
    for options in ({"top": "x"}, {"top": 0}, {"vocoder": "/"}, {"skip_rows": 1}):
        status, _, content = client.ask(
            "POST", "/v1/predict", {"inputs": [png(images(1)[0])], "model": "pictures", "options": options}
        )
        assert status == 422
        assert "option" in content["error"]["message"] or "top" in content["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"{", 422, "JSON"),
        (b"[" * 100_000, 400, ""),
        (b'{"inputs": [NaN], "model": "texts"}', 422, "not a text"),
        (b'{"inputs": [1e999], "model": "texts"}', 422, "not a text"),
        (b'{"inputs": ["\\u0000"], "model": "texts", "options": {"length": 1}}', 200, ""),
        (b'{"inputs": ["\\ud800"], "model": "texts"}', 422, ""),
        (b'{"inputs": ["a"], "model": "texts", "options": {"seed": 1' + b"0" * 400 + b"}}", 422, "seed"),
        (b'{"inputs": ["a"], "model": "texts", "options": {"length": 1' + b"0" * 40 + b"}}", 422, "length"),
        (b'{"inputs": ["a"], "model": "texts", "options": {"temperature": NaN}}', 422, "temperature"),
        (b'{"inputs": [], "model": "texts"}', 422, "inputs"),
        (b'{"inputs": ["a"]}', 404, "several models"),
        (b'{"inputs": ["a"], "model": "no"}', 404, "no model"),
        (b'{"inputs": ["/etc/passwd"], "model": "pictures"}', 422, "base64"),
        (b'{"inputs": [{"base64": "?"}], "model": "pictures"}', 422, "base64"),
        (b'{"inputs": [{"base64": "AAAA"}], "model": "pictures"}', 422, "input 0"),
        (b'{"inputs": ["a"], "model": "texts", "more": 1}', 422, "more"),
        (b"\xff\xfe", 422, "JSON"),
    ],
)
def test_what_cannot_be_used_is_refused_and_said(client, body, status, told):
    found, _, content = client.ask("POST", "/v1/predict", body)
    assert (found, told in str(content)) == (status, True), content
    if status != 200:
        assert content["error"].keys() == {"message", "type", "param", "code"}


def test_inputs_that_cannot_be_read_are_named_or_skipped(client):
    inputs = [png(images(1)[0]), {"base64": "AAAA"}]
    status, _, content = client.ask("POST", "/v1/predict", {"inputs": inputs, "model": "pictures"})
    assert status == 422
    assert content["error"]["message"].startswith("input 1: ")
    answers = client.predict(inputs, model="pictures", skip_broken=True)["answers"]
    assert "label" in answers[0]
    assert answers[1].keys() == {"error"}


def test_a_picture_of_too_many_pixels_is_refused(client):
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    bomb = {"base64": base64.b64encode(content.getvalue()).decode()}
    status, _, content = client.ask("POST", "/v1/predict", {"inputs": [bomb], "model": "pictures"})
    assert status == 422
    assert "pixels" in content["error"]["message"]


def test_inputs_that_take_too_much_once_read_are_refused(client, monkeypatch):
    given = [png(one) for one in images(4)]
    size = images(1)[0].nbytes
    monkeypatch.setattr("jaxlm.serve.model.MOST", 4 * size)
    assert len(client.predict(given, model="pictures")["answers"]) == 4
    monkeypatch.setattr("jaxlm.serve.model.MOST", 3 * size - 1)
    status, _, content = client.ask("POST", "/v1/predict", {"inputs": given, "model": "pictures"})
    assert status == 422
    assert "inputs 0 to 2 take more than" in content["error"]["message"]
    assert "send fewer" in content["error"]["message"]


def test_models_are_listed_with_an_example_that_they_read(client):
    _, _, found = client.ask("GET", "/v1/models")
    assert [one["id"] for one in found["data"]] == ["pictures", "texts"]
    assert [one["kind"] for one in found["data"]] == ["image", "prompt"]
    for one in found["data"]:
        assert client.predict([one["example"]], model=one["id"])["digest"] == one["digest"]
        assert client.ask("GET", f"/v1/models/{one['id']}")[2] == one


def test_requests_are_counted_and_have_an_id(client):
    status, headers, _ = client.ask("GET", "/readyz", headers={"x-request-id": "mine-1"})
    assert (status, headers["x-request-id"]) == (200, "mine-1")
    _, headers, _ = client.ask("GET", "/readyz", headers={"x-request-id": "x y"})
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    text = client.ask("GET", "/metrics")[2].decode()
    assert 'jaxlm_requests_total{route="/readyz",status="200"}' in text
    assert 'jaxlm_batch_rows_count{model="pictures"}' in text
    assert 'jaxlm_model{digest="' in text


def test_the_log_has_a_line_a_request_without_its_content(artefacts):
    log = io.StringIO()
    with service([artefacts / "texts"], log=log) as client:
        client.predict(["a secret"], options={"length": 1})
    line = json.loads(log.getvalue().splitlines()[-1])
    assert line.keys() == {"time", "id", "method", "route", "status", "ms", "model", "inputs"}
    assert (line["route"], line["status"], line["model"], line["inputs"]) == ("/v1/predict", 200, "texts", 1)
    assert "secret" not in log.getvalue()


def test_without_a_token_every_path_and_method_is_refused_but_livez(artefacts):
    with service([artefacts / "texts"], token=TOKEN) as client:
        paths = client.ask("GET", "/openapi.json")[2]["paths"]
        assert {"/v1/predict", "/v1/models", "/metrics", "/admin/reload"} <= paths.keys()
        nobody = Client(client.port)
        spelled = [
            other
            for path in [*paths, "/", "/docs", "/redoc", "/openapi.json", "/page.js", "/none"]
            for other in (path, f"{path}/", f"/{path}", path.upper(), path.replace("/", "/%2e/"), f"{path}?a=1")
        ]
        spelled += ["/livez/", "//livez", "/LIVEZ", "/%6civez", "/livez/..", "/v1/../livez", "/livez;a"]
        for path in spelled:
            for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"):
                if path.partition("?")[0] != "/livez":
                    assert nobody.ask(method, path)[0] == 401, (method, path)
        assert nobody.ask("GET", "/livez")[0] == 200
        password = base64.b64encode(f"me:{TOKEN}".encode()).decode()
        assert nobody.ask("GET", "/v1/models", headers={"authorization": f"Basic {password}"})[0] == 200
        for header in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Token {TOKEN}", "Basic ?"):
            assert nobody.ask("GET", "/v1/models", headers={"authorization": header})[0] == 401


def test_tokens_are_read_from_a_file_and_the_environment(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# mine\n{TOKEN}\n\n")
    assert read_tokens(str(file), f"{TOKEN}2, {TOKEN}3") == (TOKEN, f"{TOKEN}2", f"{TOKEN}3")
    assert read_tokens(None, None) == ()
    file.write_text("short\n")
    with pytest.raises(BadInput, match="token 1 is shorter than 16"):
        read_tokens(str(file), None)
    file.write_text("")
    with pytest.raises(BadInput, match="has no token"):
        read_tokens(str(file), None)


def refused_at_once(client, header, body):
    """The status of a request that is sent in one piece, as the service may close before the rest of several comes."""
    lines = ["POST /v1/predict HTTP/1.1", "Host: x", "Content-Type: application/json", header, "", ""]
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as line:
        line.sendall("\r\n".join(lines).encode() + body)
        return int(line.recv(1000).split()[1])


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(artefacts):
    body = json.dumps({"inputs": ["x" * 2000]}).encode()
    pieces = b"".join(b"64\r\n" + b"x" * 100 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    with service([artefacts / "texts"], limits=Limits(body=1000)) as client:
        assert refused_at_once(client, f"Content-Length: {len(body)}", body) == 413
        assert refused_at_once(client, "Transfer-Encoding: chunked", pieces) == 413


def test_a_client_that_sends_a_large_body_before_it_reads_sees_why_it_is_refused(artefacts):
    body = json.dumps({"inputs": ["x" * 6_000_000]}).encode()  # more than the buffers of both sides hold
    pieces = [b"%x\r\n" % 60_000 + b"x" * 60_000 + b"\r\n"] * 100 + [b"0\r\n\r\n"]
    with service([artefacts / "texts"], limits=Limits(body=1000)) as client:
        for _ in range(3):
            status, headers, content = client.ask("POST", "/v1/predict", body)
            assert (status, headers["connection"]) == (413, "close")
            assert "larger than 1000 bytes" in content["error"]["message"]
        assert refused_at_once(client, "Transfer-Encoding: chunked", b"".join(pieces)) == 413
        waiting = "Expect: 100-continue\r\nContent-Length: 5000"  # it sends nothing before it is told to
        assert refused_at_once(client, waiting, b"") == 413


def test_a_body_without_an_end_is_not_read_for_ever(artefacts, monkeypatch):
    monkeypatch.setattr("jaxlm.serve.limits.DRAIN_SECONDS", 0.2)
    with service([artefacts / "texts"], limits=Limits(body=1000)) as client:
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as line:
            line.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + b"x" * 2000)
            found = b""
            while piece := line.recv(1000):  # until the service closes
                found += piece
        assert found.startswith(b"HTTP/1.1 413")


def test_uploads_that_stall_are_given_up_and_shut_nobody_out(artefacts):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
    lengths = (b"Content-Length: 99\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    with (
        service([artefacts / "texts"], limits=Limits(seconds=1.0, requests=2)) as client,
        contextlib.ExitStack() as held,
    ):
        lines = [held.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=30)) for _ in lengths]
        for line, length in zip(lines, lengths, strict=True):
            line.sendall(head + length)
        for line in lines:
            found = b""
            while piece := line.recv(1000):  # until the service closes
                found += piece
            assert found.startswith(b"HTTP/1.1 408")
            assert b"not there after 1 seconds" in found
        assert client.ask("GET", "/v1/models")[0] == 200


def test_a_reload_serves_the_new_weights_and_a_rollback_the_old_ones(artefacts, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(artefacts / "pictures", folder)
    with service([folder]) as client:
        asked = [png(one) for one in images(2)]
        first = client.predict(asked)
        shutil.rmtree(folder)
        folder.mkdir()
        write_artefact(folder, image_classifier(seed=1), ModelFacts("pictures", 2))
        status, _, found = client.ask("POST", "/admin/reload", {})
        assert (status, found["before"]) == (200, first["digest"])
        second = client.predict(asked)
        assert second["digest"] == found["digest"] != first["digest"]
        assert second["answers"] != first["answers"]
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:-1] + b"?")
        status, _, found = client.ask("POST", "/admin/reload", {})
        assert status == 422
        assert "model.safetensors has other bytes" in found["error"]["message"]
        assert client.predict(asked)["answers"] == second["answers"]
        assert client.ask("POST", "/admin/rollback", {})[2]["digest"] == first["digest"]
        assert client.predict(asked)["answers"] == first["answers"]


def test_two_models_of_one_name_are_refused(artefacts, tmp_path):
    shutil.copytree(artefacts / "texts", tmp_path / "texts")
    with pytest.raises(BadInput, match="have the name texts"), service([artefacts / "texts", tmp_path / "texts"]):
        pass
