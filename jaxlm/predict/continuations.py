"""Answer with what a language model writes after a text, or as the next turn of a conversation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from jaxlm.data.text.conversation import Line, Message, TemplateName, encode, end_of_turn, read_messages
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.decode.generate import NO_STOP, Decoder, check_sampling, continue_rows, power_of_two
from jaxlm.decode.slots import ModelSlots
from jaxlm.decode.text import new_text, prompt_tokens
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import check_seed

BATCH = 8  # prompts at a time; nothing is compared with an evaluation, which writes no text


class Prompt(NamedTuple):
    """The tokens of a prompt and how many may follow."""

    tokens: list[int]
    length: int


@dataclass(frozen=True, kw_only=True)
class TokenizePrompts:
    """Make rows of texts that are to be continued. What does not fit into the context is dropped from the left.

    Rows: "tokens" int32 [P] with padding on the left, P a power of two and at least 2; "start", the places of
    padding; "new" int32 [T], zeros, as many as there is room for new tokens; "length" of new tokens, "temperature",
    "top_p", "seed" and "number", that of the input in its list.

    Attributes:
        tokenizer: of the run.
        context: the longest sequence of the model.
        length: new tokens at most; None: 100, or half of the context where that is less.
        temperature: 0 is greedy.
        top_p: sample among the likeliest tokens of this mass.
        seed: of the draws, which are functions of (seed, number of the input, step).
    """

    tokenizer: AnyTokenizer
    context: int
    length: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    options: ClassVar[tuple[str, ...]] = ("length", "temperature", "top_p", "seed")

    def __post_init__(self) -> None:
        check_sampling(self.new, self.temperature, None, self.top_p)
        check_seed(self.seed, "seed")
        if self.new >= self.context:
            raise BadInput(
                f"length is {self.new} and the model's context {self.context}: ask for at most {self.context - 1}"
            )

    @property
    def new(self) -> int:
        """Return the number of new tokens at most."""
        return min(100, max(self.context // 2, 1)) if self.length is None else self.length

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield one row for each input, or why there is none."""
        for number, given in enumerate(inputs):
            try:
                tokens = self.tokens(given)[-(self.context - self.new) :]
                if not tokens:
                    raise BadInput("an empty text, and no token that begins one: give some text")
                yield Prepared([self.row(tokens, number)], Prompt(tokens, self.new))
            except BadInput as error:
                yield error

    def tokens(self, given: Any) -> list[int]:
        """Return the tokens of one prompt.

        Raises:
            BadInput: it is not a text.
        """
        if not isinstance(given, str):
            raise BadInput("not a text: give one, or name its column")
        return prompt_tokens(self.tokenizer, given)

    def row(self, tokens: Sequence[int], number: int) -> Example:
        """Return the row of a prompt."""
        width = min(power_of_two(max(len(tokens), 2)), self.context)  # one token alone would be another program
        start = width - len(tokens)
        whole = {"start": start, "length": self.new, "number": number}
        shares = {"temperature": self.temperature, "top_p": self.top_p}
        return {
            "tokens": np.pad(np.asarray(tokens, np.int32), (start, 0)),
            "new": np.zeros(power_of_two(self.new), np.int32),
            "seed": np.asarray(self.seed, np.uint32),
            **{name: np.asarray(value, np.int32) for name, value in whole.items()},
            **{name: np.asarray(value, np.float32) for name, value in shares.items()},
        }


@dataclass(frozen=True, kw_only=True)
class TokenizeChats(TokenizePrompts):
    """Make rows of conversations that wait for an answer: a question, or messages, or {"messages": [...]}.

    Attributes:
        template: see `jaxlm.data.text.conversation`.
    """

    template: TemplateName = "chatml"

    def tokens(self, given: Any) -> list[int]:
        """Return the tokens of one conversation up to where the answer begins.

        Raises:
            BadInput: it is not a conversation.
        """
        if isinstance(given, str) and given.strip():
            messages = [Message("user", given)]
        elif isinstance(given, (list, tuple, dict)):
            fields = given if isinstance(given, dict) else {"messages": list(given)}
            messages = read_messages(Line("the conversation", fields))
        else:
            raise BadInput('not a conversation: give a question, or [{"role": "user", "content": "..."}, ...]')
        return encode(messages, self.tokenizer, self.template, opened=True).ids.tolist()


@dataclass(frozen=True)
class DecodeTokens:
    """Answer with {"text": what the model wrote}.

    Attributes:
        tokenizer: of the run.
        end: tokens in a row that end the text and are left out.
    """

    tokenizer: AnyTokenizer
    end: tuple[int, ...] = ()

    def __call__(self, outputs: Sequence[Example], context: Prompt) -> Answer:
        """Return the answer for the new tokens int32 [T] of its row."""
        found = outputs[0]["new"][: context.length].tolist()
        size = len(self.end)
        ends = (place for place in range(len(found)) if size and tuple(found[place : place + size]) == self.end)
        kept = found[: next(ends, len(found))]
        return {"text": new_text(self.tokenizer, context.tokens + kept, len(context.tokens))}


def continuation(model: Decoder, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run of a language model: the text goes on, at most to the end of its document.

    Law: answers are those of `decode.continue_text` wherever prompt and new tokens fit into the model's context.

    Args:
        model: of the config.
        run: whose tokenizer.json is read.
    """
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    end = () if tokenizer.separator is None else (tokenizer.separator,)
    return language_writer(model, TokenizePrompts(tokenizer=tokenizer, context=model.context), end)


def chat(model: Decoder, template: TemplateName, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run of a language model that answers in conversations.

    Args:
        model: of the config.
        template: that the model was tuned with.
        run: whose tokenizer.json is read.
    """
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    end = tuple(end_of_turn(tokenizer, template))
    return language_writer(model, TokenizeChats(tokenizer=tokenizer, context=model.context, template=template), end)


def language_writer(model: Decoder, preprocess: TokenizePrompts, end: tuple[int, ...]) -> Predictor:
    """Compose the predictor of a language model.

    Args:
        model: decodes with a cache.
        preprocess: makes rows of prompts.
        end: tokens in a row that end a text.
    """
    stop = end[0] if len(end) == 1 else NO_STOP

    def key_of(seed: jax.Array, number: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), number)

    def apply(variables: Any, batch: Any) -> Any:
        keys_B = jax.vmap(key_of)(batch["seed"], batch["number"])
        sampling = (batch["length"], batch["temperature"], batch["top_p"])
        slots = batch["new"].shape[1]
        new_BT = continue_rows(model, variables, batch["tokens"], batch["start"], keys_B, *sampling, stop, slots=slots)
        return {"new": new_BT}

    example = zeros(preprocess.row([0], 0), BATCH)
    limits = ("p >= 2", f"p <= {model.context}", f"t <= {2 * model.context}")
    decode = DecodeTokens(preprocess.tokenizer, end)
    shapes = {"tokens": "p", "new": "t"}
    return Predictor(preprocess, apply, decode, (example,), shapes, limits, ModelSlots(model))
