"""Measure a service under load: its knee, what it does below and above it, and what it adds to the compiled call.

    python scripts/bench_serve.py ARTEFACT
    python scripts/bench_serve.py ARTEFACT --seconds 180
    python scripts/bench_serve.py ARTEFACT --against litserve    # after pip install litserve
    python scripts/bench_serve.py ARTEFACT --against alone       # batches of one row

Requests arrive by a Poisson process at a fixed rate, whatever the answers (an open loop), from a second process, with
the model's own example as the input. The knee is the largest rate of a rising series whose answers are all good and
whose 99th percentile stays below a limit. Then 70 % and 150 % of it are held, while /livez is asked.

With --against, the knee of another service of the same model is found too, and 70 % of the lower knee is held by one
and the other in turn, each started again for its turn: LitServe (serve_litserve.py), or this one without batches.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
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
from typing import Any, NamedTuple

LIMIT = 0.1  # seconds, of the 99th percentile at the knee
TURNS = 3  # of each service at one load


class Held(NamedTuple):
    """What came of holding a rate.

    Attributes:
        rate: requests a second that arrived.
        good: answers a second.
        refused: answers 429 a second.
        bad: all others.
        median: seconds of a good answer.
        p99: seconds, of the 99th percentile.
        live: seconds of the slowest /livez.
    """

    rate: float
    good: float
    refused: float
    bad: int
    median: float
    p99: float
    live: float


class Connections:
    """Connections to a service that are kept, as a proxy keeps them."""

    def __init__(self, port: int):
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def request(self, content: bytes) -> int:
        """Send a whole HTTP request and return the status of the answer; one that was closed meanwhile is replaced."""
        while self._free:
            try:
                return await self._over(*self._free.pop(), content)
            except (ConnectionError, EOFError):
                continue
        return await self._over(*await asyncio.open_connection("127.0.0.1", self._port), content)

    async def _over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> int:
        try:
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(head.split(None, 2)[1])


def http(method: str, path: str, body: bytes = b"") -> bytes:
    """Return a request."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def hold(port: int, content: bytes, rate: float, seconds: float, seed: int) -> Held:
    """Send requests at a rate, and wait for all answers."""
    draw, loop = random.Random(seed), asyncio.get_running_loop()
    found: list[tuple[int, float]] = []
    connections, watching = Connections(port), Connections(port)
    live: list[float] = []

    async def ask() -> None:
        began = loop.time()
        try:
            status = await asyncio.wait_for(connections.request(content), 30)
        except (OSError, TimeoutError, EOFError):
            status = 0
        found.append((status, loop.time() - began))

    async def look() -> None:
        while True:
            began = loop.time()
            await watching.request(http("GET", "/livez"))
            live.append(loop.time() - began)
            await asyncio.sleep(0.2)

    watch = asyncio.create_task(look())
    tasks, began = [], loop.time()
    due = began
    while due - began < seconds:
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(asyncio.create_task(ask()))
        due += draw.expovariate(rate)
    await asyncio.gather(*tasks)
    whole = loop.time() - began
    watch.cancel()
    times = sorted(time for status, time in found if status == 200) or [float("inf")]
    refused = sum(status == 429 for status, _ in found)
    bad = sum(status not in (200, 429) for status, _ in found)
    p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
    good = len(times) / whole if times[0] < float("inf") else 0.0
    return Held(rate, good, refused / whole, bad, statistics.median(times), p99, max(live, default=0.0))


def held(port: int, content: bytes, rate: float, seconds: float) -> Held:
    """Hold a rate from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (port, content, rate, seconds))


def _run(port: int, content: bytes, rate: float, seconds: float) -> Held:
    return asyncio.run(hold(port, content, rate, seconds, seed=int(rate * 1000)))


def find_knee(port: int, content: bytes, seconds: float) -> float:
    """Return the largest rate of a rising series that is answered in time."""
    rate, knee = 200.0, 0.0
    while True:
        found = held(port, content, rate, seconds)
        print(f"  {tell(found)}", flush=True)
        if found.bad or found.refused or found.p99 > LIMIT:
            if not knee:
                raise SystemExit(f"not even {rate:.0f} requests/s are answered in time")
            return knee
        knee, rate = rate, rate * 1.25


def tell(found: Held) -> str:
    """Return one line."""
    return (
        f"{found.rate:7.1f}/s arrive: {found.good:7.1f}/s good, {found.refused:6.1f}/s refused, {found.bad} bad, "
        f"median {1000 * found.median:.1f} ms, p99 {1000 * found.p99:.1f} ms, livez at most {1000 * found.live:.0f} ms"
    )


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


def compare(artefact: Path, body: bytes, peer: str, seconds: float, step_seconds: float) -> None:
    """Print the knees of two services of one model, and how long each takes at one load."""
    content, names = http("POST", "/v1/predict", body), ("jaxlm", peer)
    knees, turns = {}, {name: [] for name in names}
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
    options = parser.parse_args()
    body = example_of(options.artefact)
    if options.against is None:
        show(options.artefact, body, options.seconds, options.step_seconds)
    else:
        compare(options.artefact, body, options.against, options.seconds, options.step_seconds)


if __name__ == "__main__":
    main()
