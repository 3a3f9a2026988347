"""Cells as Ray tasks, on two nodes that share this machine's disk. Skipped where Ray is not installed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ablations import command, jaxlm, records, tables

from whole_path import ROOT

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("one node left", flush=True)
cluster.shutdown()
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
LONG = ("--run.steps", "4000", "--run.log-every", "1000", "--run.eval-every", "2000", "--run.save-every", "1000")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install ray"),
]


@pytest.fixture(scope="module")
def cluster():
    """A process that holds a cluster of two nodes with one CPU each, which lie elsewhere than the drivers do."""
    pipe, line = subprocess.PIPE, [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT, cwd="/") as process:
        process.address = process.stdout.readline().strip()
        yield process
        process.stdin.close()


def start(config, directory, *words, prefix=()):
    line = [*prefix, sys.executable, "-m", "jaxlm", *command(config, directory, "--on", "ray", *words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)


def driver(*words, **options):
    out, err = (process := start(*words, **options)).communicate()
    return process.returncode, out, err


def tasks_of(cluster):
    """The processes in which the nodes of a cluster run tasks."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        if status.read_bytes().startswith(b"ray::run_task"):
            found.append(int(status.parent.name))
    return [process for process in found if parent(parent(process)) == cluster.pid]


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def sessions(directory):
    """How often the runs of a directory have been started."""
    return sum(len(json.loads(path.read_text())["sessions"]) for path in directory.glob("cells/*/lineage.json"))


def wait_for(happened, driver):
    while not happened():
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)


def test_two_nodes_make_the_table_that_one_process_makes(cluster, made, config, tmp_path):
    code, out, err = driver(config, tmp_path / "ray", "--address", cluster.address)
    assert code == 0, err
    assert tables(tmp_path / "ray") == tables(made[0])
    assert records(tmp_path / "ray") == records(made[0])
    assert "cell 2 of 9: slow, seed 5 (0 done, 0 failed, 9 left)\n" in out


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="needs two cores")
def test_a_worker_on_another_machine_than_planned_is_refused(cluster, config, tmp_path):
    code, _, err = driver(config, tmp_path / "ray", "--address", cluster.address, prefix=("taskset", "-c", "0"))
    cores = len(os.sched_getaffinity(0))
    assert code == 2
    assert f"is planned for what its worker is not (platform.cores 1 planned, {cores} in the worker)" in err
    assert records(tmp_path / "ray") == {}


def test_an_address_where_no_cluster_is_is_told_in_one_line(config, tmp_path):
    code, _, err = driver(config, tmp_path / "ray", "--address", "127.0.0.1:1")
    assert code == 2
    assert err.splitlines() == [
        "error: Ray cannot be reached at 127.0.0.1:1 ([Errno 111] Connection refused): give another --address"
    ]
    assert not (tmp_path / "ray").exists()


def test_what_a_dead_worker_and_a_dead_node_trained_is_trained_elsewhere(cluster, config, tmp_path):
    """The last test of this cluster, which loses a node."""
    words = ("--seeds", "1", *LONG)
    process = start(config, tmp_path / "ray", "--address", cluster.address, *words)
    wait_for(lambda: list(tmp_path.glob("ray/cells/*/checkpoints/1000")), process)
    struck, begun = tasks_of(cluster), sessions(tmp_path / "ray")
    assert struck
    for task in struck:
        os.kill(task, signal.SIGKILL)
    wait_for(lambda: sessions(tmp_path / "ray") >= begun + len(struck), process)
    cluster.stdin.write("lose one\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "one node left\n"
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "its workers died" not in out
    assert sessions(tmp_path / "ray") >= 3 + len(struck) + 1  # three cells, and what was struck went on once more
    assert jaxlm(*command(config, tmp_path / "here", *words))[0] == 0
    assert tables(tmp_path / "ray") == tables(tmp_path / "here")
    assert records(tmp_path / "ray") == records(tmp_path / "here")
