"""A service under load loses nothing: drains, reloads, kills and streams that are dropped."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from jaxlm.serve.model import Batching
from serve.served import Client, service
from serve.test_service import png
from small_models import image_classifier, images, text_model, write_models

pytestmark = pytest.mark.slow
DRAINS, KILLS, RELOADS, STREAMS = (
    int(os.environ.get(f"JAXLM_{name}", usual))
    for name, usual in (("DRAINS", 3), ("KILLS", 3), ("RELOADS", 15), ("STREAMS", 300))
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    write_models(home, pictures=image_classifier(), texts=text_model())
    return home


class Process:
    """`jaxlm serve` in a process of its own."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "jaxlm", "serve", *map(str, words), "--port", "0"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.child.stdout.readline()
        self.client = Client(int(re.fullmatch(r"listening on http://127.0.0.1:(\d+)", line.strip())[1]))

    def end(self, number=signal.SIGTERM):
        """Send a signal and return the exit code."""
        self.child.send_signal(number)
        code = self.child.wait(60)
        self.child.stdout.close()
        return code


class Load:
    """Threads that ask without a pause until they are stopped; `found` has (status, content) of each answer."""

    def __init__(self, ask, threads=4):
        self.found, self.refused, self._stop = [], 0, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(ask,)) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, ask):
        while not self._stop.is_set():
            try:
                self.found.append(ask())
            except ConnectionRefusedError:  # not accepted: nothing was lost
                self.refused += 1
                time.sleep(0.005)
            except Exception as error:
                self.found.append((type(error).__name__, str(error)))

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.found


def test_a_drain_answers_every_request_that_was_accepted(home):
    body = json.dumps({"inputs": [png(one) for one in images(3)]}).encode()
    for number in range(DRAINS):
        process = Process(home / "pictures")
        load = Load(lambda process=process: process.client.ask("POST", "/v1/predict", body)[::2])
        time.sleep(0.2 + 0.1 * (number % 3))
        assert process.end() == 0
        found = load.stop()
        # a connection whose request had not been read when the service closed is reset; it was not accepted
        bad = [one for one in found if one[0] not in (200, "ConnectionResetError", "RemoteDisconnected")]
        assert not bad, bad[:3]
        assert sum(one[0] == 200 for one in found) > 5


def test_reloads_under_load_lose_no_request_and_no_memory(home, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(home / "pictures", folder)
    process = Process(folder)
    try:
        body = json.dumps({"inputs": [png(images(1)[0])]}).encode()
        load, sizes = Load(lambda: process.client.ask("POST", "/v1/predict", body)[::2]), []
        for _ in range(RELOADS):
            assert process.client.ask("POST", "/admin/reload", {})[0] == 200
            with open(f"/proc/{process.child.pid}/statm") as file:
                sizes.append(int(file.read().split()[1]) * 4096)
        found = load.stop()
        assert {one[0] for one in found} == {200}
        assert sizes[-1] < sizes[RELOADS // 2] + 64e6, sizes
    finally:
        assert process.end() == 0


def test_a_kill_loses_no_feedback_that_was_acknowledged(home, tmp_path):
    for number in range(KILLS):
        file, numbers = tmp_path / f"told-{number}.db", iter(range(10**9))
        process = Process(home / "pictures", "--feedback", file)

        def ask(process=process, numbers=numbers):
            name = f"r{next(numbers)}"
            return process.client.ask("POST", "/v1/feedback", {"id": name, "label": "a"})[0], name

        load = Load(ask, threads=8)
        time.sleep(0.4 + 0.2 * (number % 4))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        acknowledged = {name for status, name in load.stop() if status == 200}
        with sqlite3.connect(file) as database:
            kept = {row[0] for row in database.execute("select request from feedback")}
        assert acknowledged
        assert acknowledged <= kept


def test_streams_that_are_dropped_leave_no_slot_and_no_task(home):
    import http.client

    with service([home / "texts"], batching=Batching(slots=4, room=64)) as client:
        body = json.dumps({"model": "texts", "prompt": "x", "max_tokens": 30, "stream": True, "temperature": 1})
        dropped = 0
        while dropped < STREAMS:
            connection = http.client.HTTPConnection("127.0.0.1", client.port)
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status in (200, 429)
            dropped += answer.status == 200
            answer.read(1)
            connection.close()
        for _ in range(100):
            text = client.ask("GET", "/metrics")[2]
            if b'jaxlm_slots_used{model="texts"} 0.0' in text and b'jaxlm_waiting_rows{model="texts"} 0.0' in text:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(text)
        status, _, found = client.ask("POST", "/v1/completions", {"model": "texts", "prompt": "x", "max_tokens": 5})
        assert (status, found["usage"]["completion_tokens"]) == (200, 5)
