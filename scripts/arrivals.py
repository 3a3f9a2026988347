"""Requests that arrive at a fixed rate, whatever the answers (an open loop), from a process of their own."""

import asyncio
import multiprocessing
import random
import re
import statistics
import time
from typing import NamedTuple

LIMIT = 0.1  # seconds, of the 99th percentile at the knee


class Held(NamedTuple):
    """What came of holding a rate.

    Attributes:
        rate: requests a second that arrived.
        good: answers a second.
        refused: answers 429 a second.
        bad: all others.
        median: seconds until a good answer began to arrive.
        p99: the same, of the 99th percentile.
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

    async def request(self, content: bytes) -> tuple[int, float]:
        """Send a whole HTTP request; a connection that was closed meanwhile is replaced.

        Returns:
            the status of the answer, and the seconds until the first piece of its body was there.
        """
        while self._free:
            try:
                return await self._over(*self._free.pop(), content)
            except (ConnectionError, EOFError):
                continue
        return await self._over(*await asyncio.open_connection("127.0.0.1", self._port), content)

    async def close(self) -> None:
        """Close the connections that wait for a request."""
        for _, writer in self._free:
            writer.close()
            await writer.wait_closed()

    async def _over(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
    ) -> tuple[int, float]:
        began = time.perf_counter()
        try:
            writer.write(content)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                first = await _read_chunks(reader)
            else:
                length = re.search(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                first = time.perf_counter()
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(head.split(None, 2)[1]), first - began


async def _read_chunks(reader: asyncio.StreamReader) -> float:
    """Read a body in chunks to its end, and return the moment at which the first of them was there."""
    first = 0.0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
        first = first or time.perf_counter()
    await reader.readexactly(2)
    return first or time.perf_counter()


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
        try:
            found.append(await asyncio.wait_for(connections.request(content), 30))
        except (OSError, TimeoutError, EOFError):
            found.append((0, 30.0))

    async def look() -> None:
        while True:
            live.append((await watching.request(http("GET", "/livez")))[1])
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
    await asyncio.gather(watch, return_exceptions=True)
    await connections.close()
    await watching.close()
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


def find_knee(port: int, content: bytes, seconds: float, rate: float = 200.0, limit: float = LIMIT) -> float:
    """Print a rising series of rates from `rate`, and return the largest whose 99th percentile is below `limit`.

    Raises:
        SystemExit: not even the first is.
    """
    knee = 0.0
    while True:
        found = held(port, content, rate, seconds)
        print(f"  {tell(found)}", flush=True)
        if found.bad or found.refused or found.p99 > limit:
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
