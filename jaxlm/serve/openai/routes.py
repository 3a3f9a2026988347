"""Texts over the routes and messages of OpenAI's API, so that its clients talk to a model of jaxlm.

https://platform.openai.com/docs/api-reference, as it was in 2026.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from jaxlm.decode.text import prompt_tokens
from jaxlm.errors import BadInput
from jaxlm.predict.continuations import DecodeTokens
from jaxlm.predict.predictor import Prepared
from jaxlm.serve.engine import Engine
from jaxlm.serve.model import Served
from jaxlm.serve.openai.requests import (
    MOST,
    ChatRequest,
    CompletionRequest,
    Sampling,
    TextChoice,
    chat_tokens,
    check_fields,
    choices_of,
    tokenizer_of,
)
from jaxlm.serve.openai.stream import TextStream
from jaxlm.serve.shelf import Shelf


def openai_routes(shelf: Shelf, seconds: float) -> APIRouter:
    """Return the routes of completions and chats.

    Args:
        shelf: the models.
        seconds: until a request is given up, or a stream that has not begun.
    """
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.post("/completions", response_model=None)
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        """Continue a text."""
        check_fields(asked)
        texts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if not 1 <= len(texts) <= MOST:
            raise BadInput(f"{len(texts)} prompts: give 1 to {MOST}")

        def choices(served: Served) -> list[TextChoice]:
            prompts = [prompt_tokens(tokenizer_of(served), text) for text in texts]
            return [one for tokens in prompts for one in choices_of(asked, tokens, asked.max_tokens or 16)]

        return await _answer(shelf, asked, request, choices, seconds, COMPLETION)

    @routes.post("/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        check_fields(asked)

        def choices(served: Served) -> list[TextChoice]:
            tokens = chat_tokens(served, asked.messages)
            room = _engine(served).decoder.context - len(tokens)
            if room < 1:
                raise BadInput(f"the conversation has {len(tokens)} tokens, and the context {room + len(tokens)}")
            return choices_of(asked, tokens, asked.max_completion_tokens or asked.max_tokens or room)

        return await _answer(shelf, asked, request, choices, seconds, CHAT)

    return routes


class AnswerShape(NamedTuple):
    """How answers of a route look.

    Attributes:
        prefix: of their ids.
        kind: their "object".
        choice: (text, streamed, first) -> the fields of a choice.
    """

    prefix: str
    kind: str
    choice: Callable[[str, bool, bool], dict[str, Any]]


def _completion(text: str, streamed: bool, first: bool) -> dict[str, Any]:
    return {"text": text}


def _message(text: str, streamed: bool, first: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": text} if first or not streamed else {"content": text}
    return {"delta" if streamed else "message": message}


COMPLETION = AnswerShape("cmpl", "text_completion", _completion)
CHAT = AnswerShape("chatcmpl", "chat.completion", _message)


async def _answer(
    shelf: Shelf,
    asked: Sampling,
    request: Request,
    choices: Callable[[Served], list[TextChoice]],
    seconds: float,
    shape: AnswerShape,
) -> Response:
    """Write the texts of a request, as one answer or as a stream."""
    stack = contextlib.ExitStack()
    try:
        served = stack.enter_context(shelf.using(asked.model, request.state.id))
        engine, found = _engine(served), choices(served)
        read = sum(len(one.tokens) for one in found[:: asked.n or 1])
        request.state.log = {"model": served.name, "prompt_tokens": read}
        head = {
            "id": f"{shape.prefix}-{request.state.id}",
            "object": shape.kind + (".chunk" if asked.stream and shape.kind.startswith("chat") else ""),
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": served.digest[:16],
        }
        for one in found:
            engine.check(one.asked)
        if asked.stream:
            pieces = _merged([_written(served, one) for one in found])
            async with asyncio.timeout(seconds):
                first = await anext(pieces)  # so that a full queue is an error, and no stream
            events = _events(first, pieces, head, shape, asked, read, stack.pop_all())
            return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
        async with asyncio.timeout(seconds):
            texts = await _all([_whole(served, one) for one in found])
        done = [
            {"index": index, **shape.choice(text, False, True), "logprobs": None, "finish_reason": reason}
            for index, (text, reason, _) in enumerate(texts)
        ]
        return JSONResponse({**head, "choices": done, "usage": _usage(read, sum(count for *_, count in texts))})
    finally:
        stack.close()


async def _all(parts: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Return the results of coroutines; the error of one cancels the others, which have ended when it is raised."""
    tasks = [asyncio.create_task(one) for one in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Piece(NamedTuple):
    """A part of a text that is written; the last one has a reason and the number of tokens."""

    text: str
    reason: Literal["stop", "length"] | None = None
    tokens: int = 0


async def _written(served: Served, choice: TextChoice) -> AsyncIterator[Piece]:
    """Yield the pieces of one text."""
    decode = served.predictor.postprocess
    end = decode.end if isinstance(decode, DecodeTokens) else ()
    stream = TextStream(tokenizer_of(served), choice.tokens, end, choice.stops)
    count, texts, tokens = 0, list[str](), _engine(served).write(choice.asked)
    async with contextlib.aclosing(tokens):
        async for token in tokens:
            count += 1
            texts.append(stream.push(token))
            if stream.ended:
                break
            if texts[-1]:
                yield Piece(texts[-1])
    stopped = stream.ended or count < choice.asked.length
    last = texts.pop() if stream.ended else stream.finish()
    if served.watch is not None and choice.first:
        row = {"tokens": np.asarray(choice.tokens), "start": np.zeros(()), "length": np.asarray(choice.asked.length)}
        served.watch.see([Prepared([row])], [{"text": "".join([*texts, last])}])
    yield Piece(last, "stop" if stopped else "length", count)


async def _whole(served: Served, choice: TextChoice) -> tuple[str, str | None, int]:
    pieces = [piece async for piece in _written(served, choice)]
    return "".join(piece.text for piece in pieces), pieces[-1].reason, pieces[-1].tokens


async def _merged(sources: list[AsyncIterator[Piece]]) -> AsyncGenerator[tuple[int, Piece], None]:
    """Yield the pieces of several texts as they come, with the number of their text."""
    queue: asyncio.Queue = asyncio.Queue()

    async def read(index: int, source: AsyncIterator[Piece]) -> None:
        try:
            async for piece in source:
                queue.put_nowait((index, piece))
        except Exception as error:
            queue.put_nowait(error)

    tasks = [asyncio.create_task(read(index, source)) for index, source in enumerate(sources)]
    left = len(sources)
    try:
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            left -= found[1].reason is not None
            yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _events(
    first: tuple[int, Piece],
    rest: AsyncGenerator[tuple[int, Piece], None],
    head: dict[str, Any],
    shape: AnswerShape,
    asked: Sampling,
    read: int,
    stack: contextlib.ExitStack,
) -> AsyncIterator[str]:
    """Yield the events of a stream."""
    begun: set[int] = set()
    counts: dict[int, int] = {}

    def event(index: int, piece: Piece) -> str:
        fields = shape.choice(piece.text, True, index not in begun)
        begun.add(index)
        counts[index] = piece.tokens
        choice = {"index": index, **fields, "logprobs": None, "finish_reason": piece.reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    with stack:
        async with contextlib.aclosing(rest):
            yield event(*first)
            try:
                async for index, piece in rest:
                    yield event(index, piece)
            except Exception as error:  # the status is sent: the stream itself has to say it
                yield f"data: {json.dumps({'error': {'message': str(error), 'type': 'internal'}})}\n\n"
                return
        if (asked.stream_options or {}).get("include_usage"):
            usage = _usage(read, sum(counts.values()))
            yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"


def _engine(served: Served) -> Engine:
    if served.engine is None:
        raise BadInput(f"{served.name} writes no texts: ask it with /v1/predict")
    return served.engine
