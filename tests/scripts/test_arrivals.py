"""The load of the benchmarks of services counts every answer once, and times the first piece of its body."""

import asyncio
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PAUSE = 0.05  # seconds before the first piece, and twice that between it and the last


@pytest.fixture
def arrivals(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import arrivals

    return arrivals


async def with_service(heads, ask):
    """What `ask(port)` returns while a service gives these heads in turn, with a body in two pieces after each."""
    given = iter(heads)

    async def answer(reader, writer):
        while line := await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            head = b"200" if b"/livez" in line else next(given)
            if head == b"closed":
                break
            chunked = head == b"chunked"
            status, length = (b"200", b"transfer-encoding: chunked") if chunked else (head, b"Content-Length: 4")
            writer.write(b"HTTP/1.1 " + status + b" x\r\n" + length + b"\r\n\r\n")
            if b"/livez" not in line:
                await asyncio.sleep(PAUSE)
            writer.write(b"2\r\nab\r\n" if chunked else b"ab")
            if b"/livez" not in line:
                await asyncio.sleep(2 * PAUSE)
            writer.write(b"2\r\ncd\r\n0\r\n\r\n" if chunked else b"cd")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        found = await ask(server.sockets[0].getsockname()[1])
        await asyncio.sleep(PAUSE)  # until the other ends are closed, too
        return found


@pytest.mark.parametrize(("head", "status", "least"), [(b"200", 200, 3), (b"429", 429, 3), (b"chunked", 200, 1)])
def test_a_request_is_timed_to_the_first_piece_of_a_stream_or_to_the_end_of_a_body(arrivals, head, status, least):
    async def ask(port):
        connections, found = arrivals.Connections(port), []
        for _ in range(2):  # the second on the connection of the first
            began = time.perf_counter()
            found.append((*await connections.request(arrivals.http("GET", "/")), time.perf_counter() - began))
        await connections.close()
        return found

    for answered, first, whole in asyncio.run(with_service([head] * 2, ask)):
        assert answered == status
        assert least * PAUSE * 0.9 <= first <= whole
        assert whole >= 3 * PAUSE * 0.9
        assert least == 3 or first <= whole - PAUSE


def test_every_arrival_is_counted_once(arrivals):
    heads = [b"200", b"429", b"chunked", b"500", b"closed"] * 1000

    async def ask(port):
        return await arrivals.hold(port, arrivals.http("POST", "/", b""), 100.0, 0.5, seed=0)

    found = asyncio.run(with_service(heads, ask))
    assert found.rate == 100.0
    assert found.good > found.refused > 0
    assert found.bad > 0
    assert found.median >= PAUSE * 0.9
    assert found.p99 >= found.median
    assert "429" not in arrivals.tell(found)
    assert f"{found.bad} bad" in arrivals.tell(found)


def test_the_knee_is_the_last_rate_that_is_answered_in_time(arrivals, monkeypatch, capsys):
    def held(port, content, rate, seconds):
        return arrivals.Held(rate, rate, 0.0, 0, 0.01, 0.01 if rate < 15 else 0.2, 0.0)

    monkeypatch.setattr(arrivals, "held", held)
    assert arrivals.find_knee(1, b"", 1.0, rate=8.0) == 12.5
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert arrivals.find_knee(1, b"", 1.0, rate=8.0, limit=0.1) == 12.5
    with pytest.raises(SystemExit, match="not even 20 requests/s"):
        arrivals.find_knee(1, b"", 1.0, rate=20.0)
