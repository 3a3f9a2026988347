"""Continuous batching: requests for text enter and leave a running batch, one token a step."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlm.decode.slots import Draw, SlotDecoder
from jaxlm.errors import BadInput
from jaxlm.serve.batching import Busy

END = None  # what a stream gives after its last token
FEW = 4  # short pieces that take less time than a long one
SMOOTH = 0.02  # seconds that a step of several tokens may take, so that a stream looks like one


class TextRequest(NamedTuple):
    """What to write.

    Attributes:
        tokens: of the prompt, at least one.
        length: new tokens at most.
        temperature: 0 is greedy.
        top_p: sample among the likeliest tokens of this mass.
        seed: of the draws.
        stop: a token that ends the text and is not given; None: none.
    """

    tokens: Sequence[int]
    length: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: int | None = None


@dataclass(eq=False)
class _Request:
    """A request on its way."""

    asked: TextRequest
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue
    since: float
    read: int = 0  # tokens of the prompt that are in the cache
    new: int = 0
    last: int = 0
    gone: bool = False
    slot: int | None = None

    @property
    def filled(self) -> int:
        """Return the places of its slot that are in use after its last token is added."""
        return self.read + self.new


class Engine:
    """Writes texts for coroutines, many at a time, in a thread that owns the device.

    Law: the tokens of a request are a function of the request and the model alone: they depend neither on other
    requests, nor on its slot, nor on when it came. With `fixed` in every bit; without it to rounding, as others decide
    how many places of the caches are computed with.

    Args:
        decoder: of the model.
        variables: its weights.
        slots: requests that are decoded together.
        room: requests that may wait.
        fixed: every step is the same program: all places, one token.
    """

    def __init__(self, decoder: SlotDecoder, variables: Any, *, slots: int = 16, room: int = 64, fixed: bool = False):
        self.decoder, self.slots, self.room = decoder, slots, room
        self._variables = jax.device_put(variables)
        self._prefill = jax.jit(decoder.prefill, donate_argnums=1)
        self._step = jax.jit(decoder.step, donate_argnums=1, static_argnames=("places", "count"))
        self._sizes = decoder.sizes[-1:] if fixed else decoder.sizes
        self._counts = decoder.counts[:1] if fixed else decoder.counts
        self._steps: dict[tuple[int, int], float] = {}  # seconds of a step, of those before
        self._caches: Any = None
        self._held: list[_Request | None] = [None] * slots
        self._waiting: deque[_Request] = deque()
        self._changed, self._open = threading.Condition(), True
        self._pace = 1.0  # seconds of a request, of those before
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Make the caches, compile both programs, and begin to work."""
        self._caches = jax.jit(self.decoder.init, static_argnums=1)(self._variables, self.slots)
        nobody = _Request(TextRequest([0], 1), None, None, 0.0)  # type: ignore[arg-type]
        for _ in range(2):  # JAX compiles once more for caches that are the result of one of these programs
            for piece in self.decoder.pieces:
                self._read(0, np.zeros(1, np.int32), piece, True, TextRequest([0], 1))
            for places in self._sizes:
                for count in self._counts:
                    self._advance([nobody], places, count)
        self._steps.clear()  # of compiling
        self._thread.start()

    def close(self) -> None:
        """Finish what is under way and end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a slot."""
        return len(self._waiting)

    @property
    def used(self) -> int:
        """Return the number of slots in use."""
        return len(self._requests())

    def check(self, asked: TextRequest) -> None:
        """Raise BadInput where prompt and new tokens exceed the context."""
        if len(asked.tokens) + asked.length > self.decoder.context:
            raise BadInput(
                f"{len(asked.tokens)} tokens and {asked.length} new ones exceed the context of {self.decoder.context}: "
                "shorten the prompt, or ask for fewer"
            )

    async def write(self, asked: TextRequest) -> AsyncGenerator[int, None]:
        """Yield the new tokens of a request as they come; its slot is free again when the caller leaves.

        Raises:
            BadInput: prompt and new tokens exceed the context.
            Busy: too many wait.
        """
        self.check(asked)
        request = _Request(asked, asyncio.get_running_loop(), asyncio.Queue(), time.monotonic())
        with self._changed:
            if not self._open or len(self._waiting) >= self.room:
                raise Busy(max(1.0, len(self._waiting) * self._pace / self.slots))
            self._waiting.append(request)
            self._changed.notify()
        try:
            while True:
                for token in await request.queue.get():
                    if token is END:
                        return
                    if isinstance(token, Exception):
                        raise token
                    yield token
        finally:
            request.gone = True

    def _run(self) -> None:
        while self._wait():
            try:
                self._round()
            except Exception as error:  # an error of the device: the requests under way have it, and others go on
                for request in self._requests():
                    self._leave(request, error)
                self._caches = jax.jit(self.decoder.init, static_argnums=1)(self._variables, self.slots)

    def _wait(self) -> bool:
        """Wait until there is something to do; return False at the end."""
        with self._changed:
            while not self._waiting and not self.used:
                if not self._open:
                    return False
                self._changed.wait()
            self._waiting = deque(one for one in self._waiting if not one.gone)
            free = [slot for slot, held in enumerate(self._held) if held is None]
            for slot in free[: len(self._waiting)]:
                self._held[slot] = request = self._waiting.popleft()
                request.slot = slot
            return True

    def _round(self) -> None:
        """Read pieces of prompts, those that wait longest first, and add a token to every text whose prompt is read.

        Pieces are read for no longer than a stream may stop, and at least one.
        """
        began = time.monotonic()
        for request in self._requests():
            if request.gone:
                self._leave(request)
        while unread := [one for one in self._requests() if one.read < len(one.asked.tokens)]:
            self._read_piece(min(unread, key=lambda one: one.since))
            if time.monotonic() - began > SMOOTH:
                break
        if writing := [one for one in self._requests() if one.new]:
            found = self._advance(writing, *self._shape(bool(unread) or bool(self._waiting)))
            self._give([(one, self._taken(one, found[:, one.slot or 0].tolist())) for one in writing])

    def _shape(self, hurry: bool) -> tuple[int, int]:
        """Return the places and the number of tokens of the next step.

        Places for prompts that are still being read, too, as a step writes something behind the end of every slot.
        Several tokens where nobody waits, none would pass the context, and it takes no longer than a stream may stop.
        """
        longest = max(one.filled for one in self._requests())
        for count in reversed(self._counts):
            places = next((size for size in self._sizes if size >= longest + count), self._sizes[-1])
            quick = self._steps.get((places, count), 0.0) <= SMOOTH
            if count == 1 or (not hurry and quick and longest + count <= self.decoder.context):
                return places, count
        raise AssertionError("a step of one token is always possible")

    def _requests(self) -> list[_Request]:
        return [one for one in self._held if one is not None]

    def _read_piece(self, request: _Request) -> None:
        asked, start = request.asked, request.read
        shortest, left = self.decoder.pieces[0], len(asked.tokens) - start
        size = shortest if left <= FEW * shortest else self.decoder.piece
        piece = np.asarray(asked.tokens[start : start + size], np.int32)
        token = self._read(request.slot, piece, size, start == 0, asked)
        request.read += len(piece)
        if request.read == len(asked.tokens):
            self._give([(request, self._taken(request, [int(token)]))])

    def _read(self, slot: int | None, piece: np.ndarray, size: int, fresh: bool, asked: TextRequest) -> Any:
        padded = np.pad(piece, (0, size - len(piece)))
        draw = Draw(np.uint32(asked.seed), np.int32(0), np.float32(asked.temperature), np.float32(asked.top_p))
        sizes = np.int32(len(piece)), np.bool_(fresh)
        self._caches, token = self._prefill(self._variables, self._caches, np.int32(slot or 0), padded, *sizes, draw)
        return token

    def _advance(self, requests: Sequence[_Request], places: int, count: int) -> np.ndarray:
        """Add tokens to each request, the last one that it has first, and return the next ones, int32 [count, S]."""
        tokens, steps = np.zeros(self.slots, np.int32), np.zeros(self.slots, np.int32)
        used, seeds = np.zeros(self.slots, bool), np.zeros(self.slots, np.uint32)
        heat, top_p = np.zeros(self.slots, np.float32), np.ones(self.slots, np.float32)
        for one in requests:
            slot = one.slot or 0
            tokens[slot], steps[slot], used[slot], seeds[slot] = one.last, one.new, True, one.asked.seed
            heat[slot], top_p[slot] = one.asked.temperature, one.asked.top_p
        began, draw = time.monotonic(), Draw(seeds, steps, heat, top_p)
        shape = {"places": places, "count": count}
        self._caches, found = self._step(self._variables, self._caches, tokens, used, draw, **shape)
        tokens_TS = np.asarray(found)
        before = self._steps.get((places, count), 0.0)
        self._steps[places, count] = 0.9 * before + 0.1 * (time.monotonic() - began)
        return tokens_TS

    def _taken(self, request: _Request, tokens: Sequence[int]) -> list[Any]:
        """Return what a request is given of its next tokens, and free its slot where it is complete."""
        taken: list[Any] = []
        for token in tokens:
            request.last, request.new = token, request.new + 1
            if token != request.asked.stop:
                taken.append(token)
            if token == request.asked.stop or request.new == request.asked.length:
                taken.append(END)
                self._free(request)
                break
        return taken

    def _leave(self, request: _Request, error: Exception | None = None) -> None:
        """End a request before it is complete."""
        self._give([(request, [END if error is None else error])])
        self._free(request)

    def _free(self, request: _Request) -> None:
        if request.slot is not None:
            self._held[request.slot] = None
            request.slot = None
        self._pace = 0.9 * self._pace + 0.1 * (time.monotonic() - request.since)

    @staticmethod
    def _give(given: Sequence[tuple[_Request, list[Any]]]) -> None:
        """Hand values to those who asked, with one call for each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue, list[Any]]]] = {}
        for request, values in given:
            if values:
                by_loop.setdefault(request.loop, []).append((request.queue, values))

        def put(pairs: list[tuple[asyncio.Queue, list[Any]]]) -> None:
            for queue, values in pairs:
                queue.put_nowait(values)

        for loop, pairs in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(put, pairs)
