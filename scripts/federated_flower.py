#!/usr/bin/env python3
"""Run federated rounds with Flower's server and two clients as processes of this machine; kill a client and restart it.

    pip install 'jaxlm[federated]'       # in an environment of its own
    python scripts/federated_flower.py --rounds 4 --kill-in 2 --out runs/flower

A SuperLink (server) and two SuperNodes (clients) talk over localhost as over a network, without TLS. In round
`--kill-in` one client is killed and started again. The round ends without it, and the next one waits until it is back.
Secure aggregation is not part of it: the server sees each client's parameters.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def main() -> int:
    """Start server and clients, submit the app, follow its log, and kill a client on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="federated_digits")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kill-in", type=int, default=0, help="the round in which a client is killed; 0: none")
    parser.add_argument("--out", default="runs/flower", help="where the server writes the run")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = Network(Path(folder))
        try:
            return follow(network, words)
        finally:
            network.stop()


class Network:
    """The processes of one server and its clients.

    Args:
        folder: for their logs and Flower's settings.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.running: dict[str, subprocess.Popen] = {}
        self.server, *self.ports = (f"127.0.0.1:{free_port()}" for _ in range(3))
        (folder / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{self.server}"\ninsecure = true\n'
        )
        quiet = {"FLWR_HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "JAX_PLATFORMS": "cpu"}
        self.environment = {**os.environ, **quiet, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        port = self.server.partition(":")[2]
        self.start(
            "server", "flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--port", port
        )
        for number in range(2):
            self.start_client(number)

    def start_client(self, number: int) -> None:
        """Start a client, or start it again."""
        port = self.ports[number].partition(":")[2]
        words = ("--insecure", "--superlink", self.server, "--port", port, "--node-config", f"client={number}")
        self.start(f"client {number}", "flower-supernode", *words)

    def start(self, name: str, program: str, *words: str) -> None:
        """Start a process in a group of its own, with its output in a file."""
        with (self.folder / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                [str(BIN / program), *words],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a process and those that it started."""
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End every process, and show the logs of what ended by itself."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                print(f"{name} ended with {process.returncode}:\n{(self.folder / f'{name}.log').read_text()[-2000:]}")
            self.kill(name)


def follow(network: Network, words: argparse.Namespace) -> int:
    """Submit the app, print its log, and kill and restart a client in the round that is asked for."""
    settings = f'config="{words.config}" rounds={words.rounds} nodes=2 out="{Path(words.out).absolute()}"'
    submit = [str(BIN / "flwr"), "run", str(ROOT / "scripts" / "flower_app"), "here", "--stream", "-c", settings]
    wait_for(network.server)
    run = subprocess.Popen(
        submit, env=network.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in run.stdout or ():
        print(line, end="", flush=True)
        if words.kill_in and f"[ROUND {words.kill_in}/" in line:
            time.sleep(5)
            network.kill("client 1")
            print("killed client 1, and start it again", flush=True)
            network.start_client(1)
        if "[ERROR]" in line or "Run finished" in line:
            break
    run.wait(timeout=60)
    return 0 if (Path(words.out) / "config.json").is_file() else 1


def wait_for(address: str, seconds: float = 300.0) -> None:
    """Wait until somebody listens at an address."""
    host, _, port = address.partition(":")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return
        time.sleep(1)
    sys.exit(f"error: nobody listens at {address} after {seconds:.0f} s")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
