"""A service in a thread of this process, asked over a real socket."""

import contextlib
import http.client
import json
import threading
import time

import uvicorn

from jaxlm.serve.app import make_app


class Client:
    """Asks a service on a port of this machine."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token

    def ask(self, method, path, body=None, headers=(), timeout=60):
        """The status, headers and content of an answer; JSON where it is some."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = dict(headers)
        if self.token:
            sent.setdefault("authorization", f"Bearer {self.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if content and answer.headers.get_content_type() == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def predict(self, inputs, **fields):
        status, _, content = self.ask("POST", "/v1/predict", {"inputs": inputs, **fields})
        assert status == 200, content
        return content


@contextlib.contextmanager
def service(paths, *, token=None, log=None, **options):
    """A client of a service that runs meanwhile."""
    app = make_app(paths, tokens=[token] if token else [], log=log, **options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1], token)
    finally:
        server.should_exit = True
        thread.join()
