#!/usr/bin/env python3
"""Train the same federated rounds in one process and in several, and compare the models.

    python scripts/federated_processes.py configs/federated_digits.py --processes 4 --rounds 5

The processes find each other on this machine (`jax.distributed`), each reads and trains its own clients of a round on
one device, and they add their sums once a round, by gloo on CPUs. It prints the seconds of each way and the largest
difference of a parameter, relative to the largest parameter, and exits with 1 where that is above the tolerance.
"""

import argparse
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-5


def main() -> int:
    """Run both ways and compare them; with `--index`, be one of the processes."""
    words = parse()
    if words.index is not None:
        work(words)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found, seconds = {}, {}
        for count in (1, words.processes):
            began, path = time.perf_counter(), Path(folder) / f"{count}.npz"
            launch(words, count, path)
            seconds[count] = time.perf_counter() - began
            found[count] = dict(np.load(path))
    one, several = found.values()
    apart = max(np.abs(one[name] - several[name]).max() / np.abs(one[name]).max() for name in one)
    for count, took in seconds.items():
        print(f"{count} processes: {took:.1f} s for {words.rounds} rounds, start and compilation included")
    print(f"largest relative difference of a parameter: {apart:.2g} (tolerance {TOLERANCE:g})")
    return int(not apart <= TOLERANCE)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config of experiments/federated.py, without control variates")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8, help="in a round; a multiple of the processes")
    parser.add_argument("--index", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args()


def launch(words: argparse.Namespace, count: int, path: Path) -> None:
    """Start `count` processes of this script and wait for them; the first one writes the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = [sys.executable, __file__, words.config, "--rounds", str(words.rounds), "--clients", str(words.clients)]
    shared += ["--processes", str(count), "--address", address, "--out", str(path)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([*shared, "--index", str(index)], env=environment) for index in range(count)]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit(f"error: processes ended with {codes}")


def work(words: argparse.Namespace) -> None:
    """Be one process: train its clients of every round."""
    import jax

    if words.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(words.address, words.processes, words.index)
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxlm import parallel
    from jaxlm.parallel.pmap import AXIS
    from jaxlm.runs.load import load_module
    from jaxlm.steps.federated import CONTROL_RULES
    from jaxlm.train.config import load_config

    config = load_config(words.config)
    data = dataclasses.replace(config.data, batch=words.clients)
    run = dataclasses.replace(config.run, accumulate=words.clients // words.processes)
    place = parallel.pmap().with_rules(CONTROL_RULES)  # rules, so that it is one program of all processes
    experiment = load_module(ROOT / "experiments" / "federated.py").build(
        dataclasses.replace(config, data=data, run=run), place
    )
    rounds = experiment.train_data.shard(words.index, words.processes)
    split = NamedSharding(Mesh(np.asarray(jax.devices()), (AXIS,)), PartitionSpec(AXIS))

    def put(batch: dict[str, np.ndarray]) -> Any:
        return {name: jax.make_array_from_process_local_data(split, x[None]) for name, x in batch.items()}

    state, step = place.init(experiment.init, jax.random.key(run.seed)), place.compile(experiment.step)
    for index in range(words.rounds):
        state, _ = step(state, put(rounds[index]))
    leaves: dict[str, Any] = {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(state.params)
    }
    if words.index == 0:
        np.savez(words.out, **leaves)


if __name__ == "__main__":
    sys.exit(main())
