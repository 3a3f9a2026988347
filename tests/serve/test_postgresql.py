"""The feedback store on a real PostgreSQL: what was acknowledged is there, after a crash of the server, too."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from jaxlm.errors import BadInput
from jaxlm.serve.feedback.store import FEEDBACK, PREDICTIONS, Store
from serve.served import service
from serve.test_listen import row
from serve.test_service import png
from small_models import image_classifier, images, write_models

pytestmark = pytest.mark.slow
USER = "jaxlm"


class Server:
    """A cluster of its own in a folder, on a port of this machine."""

    def __init__(self, programs, folder):
        self._programs, self._folder, self._running = programs, folder, False
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        self.call("initdb", "-D", folder / "db", "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync")

    def call(self, program, *words):
        command = [self._programs / program, *words]
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    def start(self):
        options = f"-k {self._folder} -p {self.port} -h 127.0.0.1"
        self.call("pg_ctl", "-D", self._folder / "db", "-l", self._folder / "log", "-w", "-o", options, "start")
        self._running = True

    def stop(self, how):
        if self._running:
            self.call("pg_ctl", "-D", self._folder / "db", "-m", how, "stop")
        self._running = False


@pytest.fixture(scope="module")
def server():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or (os.geteuid() == 0 and not shutil.which("runuser")):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="pip install 'jaxlm[postgresql]'")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path may have 107 characters
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = Server(found[-1].parent, folder)
        server.start()
        stack.callback(server.stop, "immediate")
        yield server


@pytest.fixture
def store(server):
    found = Store(server.url, days=1.0)
    yield found
    found.close()


def labels(store, model):
    return [one.label for one in store.told(model)]


def test_what_was_acknowledged_is_there_after_the_server_was_killed(server, store):
    async def many(first):
        rows = [
            row(n, label=str(n), input='"a\\u0000 \u00fc \U0001f600"', model="killed") for n in range(first, first + 40)
        ]
        await asyncio.gather(*(store.add(FEEDBACK, [one]) for one in rows))

    asyncio.run(many(0))
    server.stop("immediate")  # no checkpoint: what is on disk is the write-ahead log
    with pytest.raises(BadInput, match="the database refused it"):
        asyncio.run(store.add(FEEDBACK, [row(99, label="lost", model="killed")]))
    server.start()
    asyncio.run(many(40))  # the store connects again by itself
    assert labels(store, "killed") == [str(n) for n in range(80)]
    assert {one.input for one in store.told("killed")} == {"a\0 \u00fc \U0001f600"}


def test_one_row_that_is_refused_spoils_no_other(store):
    async def four():
        whole = [store.add(FEEDBACK, [row(n, label="x", input='"t"', model="mixed")]) for n in (1, 2)]
        broken = [store.add(FEEDBACK, [row(3, label="x") | change]) for change in ({"model": None}, {"label": "a\0b"})]
        return await asyncio.gather(whole[0], *broken, whole[1], return_exceptions=True)

    assert [type(one) for one in asyncio.run(four())] == [type(None), BadInput, BadInput, type(None)]
    assert labels(store, "mixed") == ["x", "x"]


def test_old_predictions_go_and_the_newest_are_found(store):
    def predicted(n, age):
        about = {"request": f"p{n}", "place": 0, "model": "aged", "digest": "d", "kind": "text"}
        return about | {"time": time.time() - 86400 * age, "input": str(n), "answer": f'{{"label": "{n}"}}'}

    async def write():
        await store.add(PREDICTIONS, [predicted(n, age) for n, age in enumerate((3, 2, 0.5, 0.1))])

    asyncio.run(write())
    until = time.monotonic() + 20
    while len(store.recent(10, "aged")) > 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert store.recent(10, "aged") == [("3", '{"label": "3"}'), ("2", '{"label": "2"}')]
    assert store.prediction("p3", 0)["kind"] == "text"
    asyncio.run(store.forget("p3"))
    assert store.prediction("p3", 0) is None


def test_a_service_keeps_its_feedback_there(store, tmp_path):
    write_models(tmp_path, pictures=image_classifier())
    with service([tmp_path / "pictures"], store=store, keep=True) as client:
        found = client.predict([png(images(1)[0])])
        until = time.monotonic() + 30
        while store.prediction(found["id"], 0) is None:
            assert time.monotonic() < until
        assert client.ask("POST", "/v1/feedback", {"id": found["id"], "label": "b"})[0] == 200
        (told,) = store.told("pictures")
        assert (told.label, told.kind, told.answer) == ("b", "image", found["answers"][0])
        assert client.ask("DELETE", f"/v1/predictions/{found['id']}")[0] == 200
        assert labels(store, "pictures") == []


def test_a_database_that_is_not_there_is_said(server):
    with pytest.raises(BadInput, match=r"jaxlm@127.0.0.1:\d+/none cannot be opened"):
        Store(server.url.replace("/postgres", "/none").replace(USER, f"{USER}:secret"))
