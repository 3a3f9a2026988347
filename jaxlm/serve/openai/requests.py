"""What is asked over OpenAI's routes: the fields of a request, and what they ask of a model.

A field that would change the answer and is not supported is refused, and never ignored.
"""

import secrets
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.decode.generate import check_sampling
from jaxlm.errors import BadInput
from jaxlm.predict.continuations import TokenizeChats
from jaxlm.serve.engine import TextRequest
from jaxlm.serve.model import Served

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


class TextChoice(NamedTuple):
    """One text of an answer.

    Attributes:
        tokens: of its prompt.
        asked: what to write.
        stops: texts that end it.
        first: whether it is the first one of its prompt.
    """

    tokens: list[int]
    asked: TextRequest
    stops: tuple[str, ...]
    first: bool


def check_fields(asked: Sampling) -> None:
    """Raise BadInput for fields that are not known, or that would change the answer and are not supported."""
    for name, value in (asked.model_extra or {}).items():
        if name in HARMLESS or (name in NEUTRAL and any(value == one for one in NEUTRAL[name])):
            continue
        raise BadInput(f"{name[:60]} is not supported with this value: leave it out")
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if len(stops) > 4 or not all(stops):
        raise BadInput("stop is up to 4 texts that are not empty")


def choices_of(asked: Sampling, tokens: list[int], length: int) -> list[TextChoice]:
    """Return the texts that are asked for of one prompt.

    Args:
        asked: the request.
        tokens: of the prompt.
        length: new tokens at most.

    Raises:
        BadInput: an empty prompt, or a number out of its range.
    """
    if not tokens:
        raise BadInput("an empty prompt, and no token that begins a text: give some text")
    heat, top_p = 1.0 if asked.temperature is None else asked.temperature, asked.top_p or 1.0
    check_sampling(length, heat, None, top_p)
    seed = secrets.randbelow(SEED) if asked.seed is None else asked.seed
    stops = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    seeds = [(seed + number) % SEED for number in range(asked.n or 1)]
    return [
        TextChoice(tokens, TextRequest(tokens, length, heat, top_p, one), stops, number == 0)
        for number, one in enumerate(seeds)
    ]


def tokenizer_of(served: Served) -> AnyTokenizer:
    """Return the tokenizer of a model that writes texts."""
    preprocess: Any = served.predictor.preprocess
    return preprocess.tokenizer


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
