"""What a service refuses before it looks at a request: without a token, too large, too slow, or one too many.

These are ASGI applications around another one, so that they hold for every path and method, known or not.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from jaxlm.data.readers.text import read_text
from jaxlm.errors import BadInput

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
OPEN = "/livez"  # the only path that needs no token
FREE = ("/livez", "/readyz", "/metrics")  # paths that are answered however much is under way
SHORTEST = 16  # characters of a token
DRAIN, DRAIN_SECONDS = 64_000_000, 10.0  # of a body that is too large, which is still read after it was refused
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_tokens(file: str | None, variable: str | None) -> tuple[str, ...]:
    """Return the tokens of a file with one on each line, and of an environment variable with commas between them.

    Raises:
        BadInput: the file cannot be read, or a token is shorter than 16 characters or has blanks in it.
    """
    lines = [] if file is None else read_text(Path(file).expanduser()).splitlines()
    found = [text.strip() for text in [*lines, *(variable or "").split(",")]]
    tokens = tuple(text for text in found if text and not text.startswith("#"))
    if bad := [number for number, text in enumerate(tokens, 1) if len(text) < SHORTEST or re.search(r"\s", text)]:
        raise BadInput(f"token {bad[0]} is shorter than {SHORTEST} characters or has blanks: make a longer one")
    if file is not None and not tokens:
        raise BadInput(f"{file} has no token: write one on each line")
    return tokens


class RequireToken:
    """Answer 401 to every request without a token, but for `OPEN`; with no tokens set, let all pass.

    A token comes as `Authorization: Bearer TOKEN`, or as the password of Basic, which is what a browser asks for.
    """

    def __init__(self, app: App, tokens: Iterable[str]):
        self._app = app
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or not self._digests or self._is_open(scope) or self._has_token(scope):
            await self._app(scope, receive, send)
        else:
            ask = [(b"www-authenticate", b'Bearer realm="jaxlm"'), (b"www-authenticate", b'Basic realm="jaxlm"')]
            await refuse(send, 401, "a token is needed: send the header Authorization: Bearer TOKEN", ask)

    @staticmethod
    def _is_open(scope: Scope) -> bool:
        return scope["type"] == "http" and scope.get("raw_path", b"").partition(b"?")[0] == OPEN.encode()

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        kind, _, value = given[0].partition(b" ")
        if kind.lower() == b"basic":
            try:
                value = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif kind.lower() != b"bearer":
            return False
        found = hashlib.sha256(value.strip()).digest()
        equal = [hmac.compare_digest(found, digest) for digest in self._digests]  # all of them, always
        return any(equal)


class LimitRequests:
    """Answer 429 at once where too many requests are under way, so that those are answered in time.

    Args:
        app: the application.
        most: requests under way at most; those of a service's own state are not counted.
    """

    def __init__(self, app: App, most: int):
        self._app, self._most, self._now = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in FREE:
            await self._app(scope, receive, send)
            return
        if self._now >= self._most:
            text = f"{self._most} requests are under way: try again in a second"
            await refuse(send, 429, text, [(b"retry-after", b"1")])
            return
        self._now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._now -= 1


class LimitBody:
    """Answer 413 to a request whose body is larger than a number of bytes, before all of it is read.

    The answer is sent at once, and the connection closed after the rest of the body was read and dropped, up to
    `DRAIN` bytes: a client that sends all of it before it reads would see a reset in the place of the answer.

    A body that is not there in time is answered with 408 and its connection closed, so that clients who send nothing
    more do not count as requests under way for ever.

    Args:
        app: the application.
        most: bytes.
        seconds: until the whole body must be there.
    """

    def __init__(self, app: App, most: int, seconds: float):
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting the bytes of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = [value for name, value in scope["headers"] if name == b"content-length"]
        if told and (not told[0].isdigit() or int(told[0][:20]) > self._most):
            await self._refuse(receive, send, True)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body, more = await self._read(receive)
        except TimeoutError:
            text = f"the body is not there after {self._seconds:g} seconds: send it faster, or raise --timeout"
            await refuse(send, 408, text, [(b"connection", b"close")])
            return
        if body is None:
            return
        if len(body) > self._most:
            await self._refuse(receive, send, more)
            return
        whole: Event | None = {"type": "http.request", "body": body, "more_body": False}

        async def again() -> Event:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        await self._app(scope, again, send)

    async def _read(self, receive: Receive) -> tuple[bytes | None, bool]:
        """Return a body, or what is too large of it, and whether more comes; None where the client is gone."""
        size, body, more = 0, [], True
        while more and size <= self._most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None, False
            body.append(message.get("body", b""))
            size += len(body[-1])
            more = bool(message.get("more_body"))
        return b"".join(body), more

    async def _refuse(self, receive: Receive, send: Send, more: bool) -> None:
        async def held(message: Event) -> None:  # the answer is whole, and the connection stays open
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        text = f"the body is larger than {self._most} bytes: send less at a time"
        await refuse(held, 413, text, [(b"connection", b"close")])
        left = DRAIN
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = bool(message.get("more_body"))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def request_id(scope: Scope) -> str:
    """Return the id of a request: the caller's X-Request-Id where it is a plain word, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def refuse(send: Send, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send an error as JSON."""
    body = json.dumps({"error": {"message": text, "type": "refused", "param": None, "code": None}}).encode()
    plain = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *headers]})
    await send({"type": "http.response.body", "body": body})
