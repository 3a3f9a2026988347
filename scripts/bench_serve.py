"""Measure a service under load: its knee, what it does below and above it, and what it adds to the compiled call.

    python scripts/bench_serve.py ARTEFACT
    python scripts/bench_serve.py ARTEFACT --seconds 180
    python scripts/bench_serve.py ARTEFACT --against litserve    # after pip install litserve
    python scripts/bench_serve.py ARTEFACT --against alone       # batches of one row
    python scripts/bench_serve.py ARTEFACT --stream 100          # texts of 100 tokens, piece by piece

Requests arrive by a Poisson process at a fixed rate, whatever the answers (an open loop), from a second process, with
the model's own example as the input. The knee is the largest rate of a rising series whose answers are all good and
whose 99th percentile stays below a limit. Then 70 % and 150 % of it are held, while /livez is asked.

With --against, the knee of another service of the same model is found too, and 70 % of the lower knee is held by one
and the other in turn, each started again for its turn: LitServe (serve_litserve.py), or this one without batches.

A model that writes texts is asked for `--stream N` tokens, and what counts is when the first of them arrives.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arrivals import LIMIT, Held, find_knee, held, http, tell

TURNS = 3  # of each service at one load


@contextlib.contextmanager
def served(artefact: Path, by: str = "jaxlm") -> Iterator[int]:
    """Start a service of an artefact, give its port once it answers, and stop it.

    Args:
        artefact: a folder.
        by: "jaxlm", "alone" (which computes one row at a time) or "litserve".
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    peer = [str(Path(__file__).with_name("serve_litserve.py")), str(artefact)]
    ours = ["-m", "jaxlm", "serve", str(artefact), *(["--batch", "1"] if by == "alone" else [])]
    command = [sys.executable, *(peer if by == "litserve" else ours), "--port", str(port)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not _answers(port):
            if child.poll() is not None:
                raise SystemExit("the service did not start: run " + shlex.join(command))
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez") as answer:
            return answer.status == 200
    except OSError:
        return False


def raw_call(path: Path) -> float:
    """Return the median seconds of the compiled call on one row, without a service."""
    import jax

    import jaxlm
    from jaxlm.export.artefact import open_artefact
    from jaxlm.predict.predictor import stack_rows

    model, (given, _) = jaxlm.load(path), open_artefact(path).probes()[0]
    (prepared,) = model.predictor.preprocess([given])
    batch, program = stack_rows(prepared.rows[:1], 1), jax.jit(model.predictor.apply)
    times = []
    for _ in range(300):
        began = time.perf_counter()
        jax.device_get(program(model.variables, batch))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def one_by_one(port: int, body: bytes, count: int = 400) -> float:
    """Return the median seconds of requests one after another on one connection."""
    import http.client

    connection, times = http.client.HTTPConnection("127.0.0.1", port), []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", "/v1/predict", body, {"content-type": "application/json"})
        assert connection.getresponse().read()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def example_of(artefact: Path) -> bytes:
    """Return the body of a request: the model's own example."""
    with served(artefact) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
        example: Any = json.load(answer)["data"][0]["example"]
    return json.dumps({"inputs": [example]}).encode()


def show(artefact: Path, body: bytes, seconds: float, step_seconds: float) -> None:
    """Print what a service adds to the compiled call, its knee, and what it does below and above it."""
    content = http("POST", "/v1/predict", body)
    with served(artefact) as port:
        raw, through = raw_call(artefact), one_by_one(port, body)
        print(f"compiled call {1000 * raw:.2f} ms, through the service {1000 * through:.2f} ms (medians)")
        knee = find_knee(port, content, step_seconds)
        print(f"knee: {knee:.1f} requests/s (all good, p99 below {1000 * LIMIT:.0f} ms, Poisson arrivals)")
        for share in (0.7, 1.5):
            print(f"{share:.0%}: {tell(held(port, content, share * knee, seconds))}")


def show_stream(artefact: Path, tokens: int, seconds: float, step_seconds: float) -> None:
    """Print the knee of texts that arrive piece by piece, and when their first pieces do below and above it."""
    given = json.loads(example_of(artefact))["inputs"][0]
    asked = {"model": artefact.resolve().name, "prompt": given, "max_tokens": tokens, "stream": True}
    content = http("POST", "/v1/completions", json.dumps(asked).encode())
    with served(artefact) as port:
        knee = find_knee(port, content, step_seconds, rate=5.0, limit=1.0)
        print(f"knee: {knee:.1f} texts/s (all good, p99 of the first piece below 1 s, Poisson arrivals)")
        for share in (0.7, 1.5):
            print(f"{share:.0%}: {tell(held(port, content, share * knee, seconds))}")


def compare(artefact: Path, body: bytes, peer: str, seconds: float, step_seconds: float) -> None:
    """Print the knees of two services of one model, and how long each takes at one load."""
    content, names = http("POST", "/v1/predict", body), ("jaxlm", peer)
    knees: dict[str, float] = {}
    turns: dict[str, list[Held]] = {name: [] for name in names}
    for name in names:
        with served(artefact, name) as port:
            print(f"{name}, {1000 * one_by_one(port, body):.2f} ms a request one after another (median)")
            knees[name] = find_knee(port, content, step_seconds)
    rate = 0.7 * min(knees.values())
    for _ in range(TURNS):
        for name in names:
            with served(artefact, name) as port:
                one_by_one(port, body)
                turns[name].append(held(port, content, rate, seconds))
                print(f"{name}: {tell(turns[name][-1])}", flush=True)
    print(f"knees: {knees['jaxlm']:.1f} and {knees[peer]:.1f} requests/s, ratio {knees['jaxlm'] / knees[peer]:.2f}")
    for what in ("median", "p99"):
        ours, theirs = (statistics.median(getattr(one, what) for one in turns[name]) for name in names)
        ratio = f"ratio {theirs / ours:.2f}"
        print(f"{what} at {rate:.1f} requests/s: {1000 * ours:.1f} and {1000 * theirs:.1f} ms, {ratio}")


def main() -> None:
    """Print the figures of a service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="for which a share of the knee is held")
    parser.add_argument("--step-seconds", type=float, default=5.0, help="of a rate while the knee is looked for")
    parser.add_argument("--against", choices=("litserve", "alone"), help="another service of the same model")
    parser.add_argument("--stream", metavar="N", type=int, help="ask for texts of so many tokens")
    options = parser.parse_args()
    if options.stream is not None:
        show_stream(options.artefact, options.stream, options.seconds, options.step_seconds)
        return
    body = example_of(options.artefact)
    if options.against is None:
        show(options.artefact, body, options.seconds, options.step_seconds)
    else:
        compare(options.artefact, body, options.against, options.seconds, options.step_seconds)


if __name__ == "__main__":
    main()
