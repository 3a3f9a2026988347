"""Texts over the routes and messages of OpenAI's API, so that its clients talk to a model of jaxlm.

https://platshape.openai.com/docs/api-reference, as it was in 2026. A field that would change the answer and is not
supported is refused, and never ignored.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.decode.generate import check_sampling
from jaxlm.decode.text import prompt_tokens
from jaxlm.errors import BadInput
from jaxlm.predict.continuations import TokenizeChats
from jaxlm.serve.engine import TextRequest
from jaxlm.serve.model import Served
from jaxlm.serve.shelf import Shelf
from jaxlm.serve.stream import TextStream

NEUTRAL: dict[str, tuple[Any, ...]] = {  # values of fields that would change the answer with which they do not
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "best_of": (None, 1),
    "suffix": (None, ""),
    "echo": (None, False),
    "tools": (None, []),
    "response_format": (None, {"type": "text"}),
}
HARMLESS = {"user", "store", "metadata", "service_tier", "parallel_tool_calls", "tool_choice", "safety_identifier"}
MOST = 16  # choices of one request
SEED = 2**32


class Sampling(BaseModel):
    """What completions and chats share."""

    model_config = ConfigDict(extra="allow")

    model: str
    temperature: float | None = Field(1.0, ge=0, le=100, description="0 takes the likeliest token.")
    top_p: float | None = Field(1.0, gt=0, le=1)
    n: int | None = Field(1, ge=1, le=MOST)
    seed: int | None = Field(None, ge=0, lt=SEED, description="Equal seeds give equal texts; choice i has seed + i.")
    stop: str | list[str] | None = Field(None, description="Up to 4 texts that end the answer.")
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None


class CompletionRequest(Sampling):
    """A text to be continued."""

    prompt: str | list[str] = Field("", description="One text, or several.")
    max_tokens: int | None = Field(16, ge=1)


class ChatRequest(Sampling):
    """A conversation to be answered."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)


class Choice(NamedTuple):
    """One text of an answer.

    Attributes:
        tokens: of its prompt.
        asked: what to write.
        stops: texts that end it.
    """

    tokens: list[int]
    asked: TextRequest
    stops: tuple[str, ...]


def router(shelf: Shelf, seconds: float) -> APIRouter:
    """Return the routes of completions and chats.

    Args:
        shelf: the models.
        seconds: until a request is given up, or a stream that has not begun.
    """
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.post("/completions", response_model=None)
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        """Continue a text."""
        _check(asked)
        texts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if not 1 <= len(texts) <= MOST:
            raise BadInput(f"{len(texts)} prompts: give 1 to {MOST}")

        def choices(served: Served) -> list[Choice]:
            prompts = [prompt_tokens(tokenizer_of(served), text) for text in texts]
            return [one for tokens in prompts for one in _choices(asked, tokens, asked.max_tokens or 16)]

        return await _answer(shelf, asked, request, choices, seconds, COMPLETION)

    @routes.post("/chat/completions", response_model=None)
    async def chat(asked: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        _check(asked)

        def choices(served: Served) -> list[Choice]:
            tokens = chat_tokens(served, asked.messages)
            room = _engine(served).decoder.context - len(tokens)
            if room < 1:
                raise BadInput(f"the conversation has {len(tokens)} tokens, and the context {room + len(tokens)}")
            return _choices(asked, tokens, asked.max_completion_tokens or asked.max_tokens or room)

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
    choices: Callable[[Served], list[Choice]],
    seconds: float,
    shape: AnswerShape,
) -> Response:
    """Write the texts of a request, as one answer or as a stream."""
    stack = contextlib.ExitStack()
    try:
        served = stack.enter_context(shelf.using(asked.model))
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
            texts = await asyncio.gather(*(_whole(served, one) for one in found))
        done = [
            {"index": index, **shape.choice(text, False, True), "logprobs": None, "finish_reason": reason}
            for index, (text, reason, _) in enumerate(texts)
        ]
        return JSONResponse({**head, "choices": done, "usage": _usage(read, sum(count for *_, count in texts))})
    finally:
        stack.close()


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Piece(NamedTuple):
    """A part of a text that is written; the last one has a reason and the number of tokens."""

    text: str
    reason: Literal["stop", "length"] | None = None
    tokens: int = 0


async def _written(served: Served, choice: Choice) -> AsyncIterator[Piece]:
    """Yield the pieces of one text."""
    stream = TextStream(tokenizer_of(served), choice.tokens, served.predictor.postprocess.end, choice.stops)
    count, tokens = 0, _engine(served).write(choice.asked)
    async with contextlib.aclosing(tokens):
        async for token in tokens:
            count += 1
            text = stream.push(token)
            if stream.ended:
                yield Piece(text, "stop", count)
                return
            if text:
                yield Piece(text)
    yield Piece(stream.finish(), "length" if count == choice.asked.length else "stop", count)


async def _whole(served: Served, choice: Choice) -> tuple[str, str | None, int]:
    pieces = [piece async for piece in _written(served, choice)]
    return "".join(piece.text for piece in pieces), pieces[-1].reason, pieces[-1].tokens


async def _merged(sources: list[AsyncIterator[Piece]]) -> AsyncIterator[tuple[int, Piece]]:
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
    rest: AsyncIterator[tuple[int, Piece]],
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


def _check(asked: Sampling) -> None:
    """Raise BadInput for fields that are not known, or that would change the answer and are not supported."""
    for name, value in (asked.model_extra or {}).items():
        if name in HARMLESS or (name in NEUTRAL and any(value == one for one in NEUTRAL[name])):
            continue
        raise BadInput(f"{name[:60]} is not supported with this value: leave it out")
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if len(stops) > 4 or not all(stops):
        raise BadInput("stop is up to 4 texts that are not empty")


def _choices(asked: Sampling, tokens: list[int], length: int) -> list[Choice]:
    if not tokens:
        raise BadInput("an empty prompt, and no token that begins a text: give some text")
    heat, top_p = 1.0 if asked.temperature is None else asked.temperature, asked.top_p or 1.0
    check_sampling(length, heat, None, top_p)
    seed = secrets.randbelow(SEED) if asked.seed is None else asked.seed
    stops = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    seeds = [(seed + number) % SEED for number in range(asked.n or 1)]
    return [Choice(tokens, TextRequest(tokens, length, heat, top_p, one), stops) for one in seeds]


def tokenizer_of(served: Served) -> AnyTokenizer:
    """Return the tokenizer of a model that writes texts."""
    return served.predictor.preprocess.tokenizer  # type: ignore[attr-defined]


def chat_tokens(served: Served, messages: list[dict[str, Any]]) -> list[int]:
    """Return the tokens of a conversation up to where its answer begins.

    Raises:
        BadInput: the model is not one of conversations, or a message has another shape.
    """
    preprocess = served.predictor.preprocess
    if not isinstance(preprocess, TokenizeChats):
        raise BadInput(f"{served.name} was not trained on conversations: continue texts with /v1/completions")
    plain = []
    for number, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
                raise BadInput(f"message {number} has a part that is no text, which this model does not read")
            content = "".join(part["text"] for part in content)
        plain.append({"role": message.get("role"), "content": content})
    return preprocess.tokens({"messages": plain})


def _engine(served: Served) -> Any:
    if served.engine is None:
        raise BadInput(f"{served.name} writes no texts: ask it with /v1/predict")
    return served.engine
