"""The container's files: what is copied is there, what is asked of Prometheus is counted, its steps make a service."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.serve.counters import Counters
from serve.served import Client
from small_models import image_classifier
from whole_path import ROOT

FOLDER = ROOT / "scripts" / "container"
TOKEN = "a-token-of-more-than-16-characters"


def steps():
    """The instructions of the Containerfile, as (name, words)."""
    text = (FOLDER / "Containerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, json.loads(rest) if rest.startswith("[") else shlex.split(rest)


def test_what_is_copied_is_there_and_nobody_is_root():
    found = dict(steps())
    for name, words in steps():
        if name == "COPY":
            assert all((ROOT / word).exists() for word in words[:-1])
    assert found["USER"] == ["10001:10001"]
    assert (found["ENTRYPOINT"] + found["CMD"])[:2] == ["jaxlm", "serve"]


def test_the_dashboard_asks_for_what_a_service_counts():
    names = {f"{metric.name}" for metric in Counters().registry.collect()}
    text = (FOLDER / "dashboard.json").read_text()
    asked = {re.sub("_(total|bucket|sum|count)$", "", name) for name in re.findall(r"jaxlm_\w+", text)}
    assert asked
    assert asked <= names


@pytest.mark.slow
def test_the_steps_make_a_service_in_a_plain_folder(tmp_path):
    """Without an engine: COPY and RUN into a folder, then ENTRYPOINT and CMD with its paths moved into it."""
    source, site, data = tmp_path / "source", tmp_path / "site", tmp_path / "data"
    source.mkdir()
    data.mkdir()
    for name, words in steps():
        for word in words[:-1] if name == "COPY" else ():
            inside = ROOT / word
            if inside.is_dir():
                shutil.copytree(inside, source / word, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(inside, source / word)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    (tmp_path / "models" / "model").mkdir(parents=True)
    write_artefact(tmp_path / "models" / "model", image_classifier(), ModelFacts("model", 1))
    (tmp_path / "tokens").write_text(TOKEN + "\n")
    found = dict(steps())
    moved = {"/models/model": "models/model", "/run/secrets/tokens": "tokens", "/data/feedback.db": "data/told.db"}
    words = [moved.get(word, "0" if word == "8000" else word) for word in found["ENTRYPOINT"] + found["CMD"]]
    command = [sys.executable, "-m", *words]
    env = {"PYTHONPATH": str(site), "HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            port = int(re.search(r":(\d+)\n", child.stdout.readline())[1])
            assert Client(port).ask("GET", "/livez")[0] == 200
            assert Client(port).ask("GET", "/v1/models")[0] == 401
            client = Client(port, TOKEN)
            status, _, content = client.ask("GET", "/v1/models")
            assert status == 200
            answer = client.predict([content["data"][0]["example"]])
            assert client.ask("POST", "/v1/feedback", {"id": answer["id"], "label": "a"})[0] == 200
        finally:
            child.terminate()
        assert child.wait(60) == 0
