"""Measure a service under load: its knee, what it does below and above it, and what it adds to the compiled call.

    python scripts/bench_serve.py ARTEFACT
    python scripts/bench_serve.py ARTEFACT --seconds 180

Requests arrive by a Poisson process at a fixed rate, whatever the answers (an open loop), from a second process, with
the model's own example as the input. The knee is the largest rate of a rising series whose answers are all good and
whose 99th percentile stays below a limit. Then 70 % and 150 % of it are held, while /livez is asked.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

LIMIT = 0.1  # seconds, of the 99th percentile at the knee


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
            return knee
        knee, rate = rate, rate * 1.25


def tell(found: Held) -> str:
    """Return one line."""
    return (
        f"{found.rate:7.1f}/s arrive: {found.good:7.1f}/s good, {found.refused:6.1f}/s refused, {found.bad} bad, "
        f"median {1000 * found.median:.1f} ms, p99 {1000 * found.p99:.1f} ms, livez at most {1000 * found.live:.0f} ms"
    )


def start(words: list[str]) -> tuple[subprocess.Popen, int]:
    """Start a service and return it with its port."""
    command = [sys.executable, "-m", "jaxlm", "serve", *words, "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    found = re.fullmatch(r"listening on http://127.0.0.1:(\d+)", child.stdout.readline().strip())
    if found is None:
        raise SystemExit("the service did not start")
    return child, int(found[1])


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


def main() -> None:
    """Print the figures of a service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="for which 70 and 150 %% of the knee are held")
    parser.add_argument("--step-seconds", type=float, default=5.0, help="of a rate while the knee is looked for")
    options = parser.parse_args()
    child, port = start([str(options.artefact)])
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            example: Any = json.load(answer)["data"][0]["example"]
        body = json.dumps({"inputs": [example]}).encode()
        raw, through = raw_call(options.artefact), one_by_one(port, body)
        print(f"compiled call {1000 * raw:.2f} ms, through the service {1000 * through:.2f} ms (medians)")
        content = http("POST", "/v1/predict", body)
        knee = find_knee(port, content, options.step_seconds)
        print(f"knee: {knee:.1f} requests/s (all good, p99 below {1000 * LIMIT:.0f} ms, Poisson arrivals)")
        for share in (0.7, 1.5):
            print(f"{share:.0%}: {tell(held(port, content, share * knee, options.seconds))}")
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
