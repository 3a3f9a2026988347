"""Units as Ray tasks, on two nodes that share this machine's disk. Skipped where Ray is not installed."""

import importlib.util
import os
import subprocess
import sys

import pytest
from ablations import command, records, tables

from whole_path import ROOT

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'jaxlm[ray]'"
    ),
]


@pytest.fixture(scope="module")
def address():
    """The address of a cluster of two nodes with one CPU each, which lie elsewhere than the drivers do."""
    pipe, line = subprocess.PIPE, [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT, cwd="/") as cluster:
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()


def driver(config, directory, *words, prefix=()):
    line = [*prefix, sys.executable, "-m", "jaxlm.cli", *command(config, directory, "--on", "ray", *words)]
    done = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_two_nodes_make_the_table_that_one_process_makes(address, made, config, tmp_path):
    code, out, err = driver(config, tmp_path / "ray", "--address", address)
    assert code == 0, err
    assert tables(tmp_path / "ray") == tables(made[0])
    assert records(tmp_path / "ray") == records(made[0])
    assert "cell 2 of 9: slow, seed 5 (0 done, 0 failed, 9 left)\n" in out


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="needs two cores")
def test_a_worker_on_another_machine_than_planned_is_refused(address, config, tmp_path):
    code, _, err = driver(config, tmp_path / "ray", "--address", address, prefix=("taskset", "-c", "0"))
    cores = len(os.sched_getaffinity(0))
    assert code == 2
    assert f"is planned for what its worker is not (platform.cores 1 planned, {cores} in the worker)" in err
    assert records(tmp_path / "ray") == {}


def test_an_address_where_no_cluster_is_is_told_in_one_line(config, tmp_path):
    code, _, err = driver(config, tmp_path / "ray", "--address", "127.0.0.1:1")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: Ray cannot be reached at 127.0.0.1:1")
    assert not (tmp_path / "ray").exists()
