"""Answer with the words that a masked language model puts in the place of [MASK]."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.predict.texts import pad_tokens
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn

MASK = "[MASK]"
MOST = 20  # guesses of a place that leave the device


class Hidden(NamedTuple):
    """The tokens of a text without those around it, and the places of the hidden ones in its row."""

    tokens: np.ndarray
    before: int
    places: np.ndarray


@dataclass(frozen=True)
class TokenizeMasked:
    """Make rows of texts in which [MASK] stands for what is to be guessed.

    Attributes:
        tokenizer: of the run.
        length: T of a row.
    """

    tokenizer: AnyTokenizer
    length: int

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield one row of "tokens" and "segments" int32 [T] for each input, or why there is none."""
        for text in inputs:
            try:
                yield self.prepared(text)
            except BadInput as error:
                yield error

    def prepared(self, text: Any) -> Prepared:
        """Return the row of one text.

        Raises:
            BadInput: it is not a text, has nothing to guess, or is longer than a row.
        """
        if not isinstance(text, str) or MASK not in text:
            raise BadInput(f"not a text with {MASK} in it: write {MASK} where a word is to be guessed")
        mask, frame = self.tokenizer.special.mask, self.tokenizer.frame()
        pieces = [[*self.tokenizer.encode(part), mask] for part in text.split(MASK)]
        tokens = np.array([token for piece in pieces for token in piece][:-1], np.int32)
        whole = np.concatenate([frame.before, tokens, frame.after]).astype(np.int32)
        if len(whole) > self.length:
            raise BadInput(f"a text of {len(whole)} tokens, and a row of this model holds {self.length}: shorten it")
        row = pad_tokens(whole, (self.length,))
        return Prepared([row], Hidden(tokens, len(frame.before), np.flatnonzero(tokens == mask)))


@dataclass(frozen=True)
class FillMasks:
    """Answer with {"text": the text with the likeliest tokens, "masks": [[{"token", "probability"}, ...], ...]}.

    Attributes:
        tokenizer: of the run.
        top: guesses for each [MASK], the likeliest first.
    """

    tokenizer: AnyTokenizer
    top: int = 5

    options: ClassVar[tuple[str, ...]] = ("top",)

    def __post_init__(self) -> None:
        if not 1 <= self.top <= MOST:
            raise BadInput(f"top is {self.top}: it must be 1 to {MOST}")

    def __call__(self, outputs: Sequence[Example], context: Hidden) -> Answer:
        """Return the answer for the likeliest "tokens" int32 [T, N] and their "probabilities" float32 [T, N]."""
        places = context.before + context.places
        tokens, shares = (outputs[0][name][places, : self.top] for name in ("tokens", "probabilities"))
        filled = context.tokens.copy()
        filled[context.places] = tokens[:, 0]
        guesses = [
            [{"token": self.tokenizer.decode([token]), "probability": float(p)} for token, p in zip(*both, strict=True)]
            for both in zip(tokens.tolist(), shares, strict=True)
        ]
        return {"text": self.tokenizer.decode(filled), "masks": guesses}


def mask_filler(logits: LossFn, data: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run of a masked language model.

    Args:
        logits: `forward(model, TEXT)` under the transforms that the loss is under.
        data: the `data` of the config.
        run: whose tokenizer.json is read.
    """
    compute = in_evaluation(logits)

    def apply(variables: Any, batch: Any) -> Any:
        shares_BTV = jax.nn.softmax(compute(variables, batch)["logits"])
        shares_BTN, tokens_BTN = jax.lax.top_k(shares_BTV, min(MOST, shares_BTV.shape[-1]))
        return {"tokens": tokens_BTN, "probabilities": shares_BTN}

    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    example = pad_tokens(np.zeros(data.length, np.int32), (data.length,))
    return Predictor(TokenizeMasked(tokenizer, data.length), apply, FillMasks(tokenizer), (zeros(example, data.batch),))
