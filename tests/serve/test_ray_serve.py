"""A service of several replicas on Ray Serve gives the answers of one."""

import os
import socket
import time

import pytest

import jaxlm
from jaxlm.errors import BadInput
from jaxlm.serve.model import Batching
from jaxlm.serve.operate.ray import on_ray_serve
from serve.served import Client
from serve.test_service import TOKEN, png
from small_models import image_classifier, images, write_models
from whole_path import ROOT

pytestmark = pytest.mark.slow
serve = pytest.importorskip("ray.serve", reason="pip install 'jaxlm[ray-serve]'")


@pytest.fixture(scope="module")
def port(monkeypatch_module):
    import ray

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = free.getsockname()[1]
    monkeypatch_module.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch_module.setenv("RAY_worker_niceness", "0")  # 15 starves on a machine that is shared
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": found})
    yield found
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_every_replica_gives_the_answers_of_the_model(port, tmp_path):
    write_models(tmp_path, pictures=image_classifier())
    app = on_ray_serve([tmp_path / "pictures"], replicas=2, batching=Batching(fixed=True), tokens=[TOKEN])
    serve.run(app, route_prefix="/")
    given = images(20)
    expected = jaxlm.load(tmp_path / "pictures")(given, batch=6)
    client = Client(port, TOKEN)
    assert Client(port).ask("GET", "/v1/models")[0] == 401
    assert [client.predict([png(one)])["answers"][0] for one in given] == expected
    (status,) = serve.status().applications["default"].deployments.values()
    assert status.replica_states == {"RUNNING": 2}
    counts, until = set(), time.monotonic() + 30
    while len(counts) < 2 and time.monotonic() < until:  # one of the replicas answers each
        text = client.ask("GET", "/metrics")[2].decode()
        found = [line for line in text.splitlines() if line.startswith("jaxlm_answers_total")]
        counts.add(float(found[0].split()[-1]) if found else 0.0)
    assert sum(counts) == 20 or counts == {10.0}


def test_feedback_in_a_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="give postgresql"):
        on_ray_serve([tmp_path], feedback="told.db")
