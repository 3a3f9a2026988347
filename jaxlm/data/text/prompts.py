"""Prompts of digits, for a language model whose answers are rewarded by a computation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.model_checks import check_tokens
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.tokenizers.plain import CharacterTokenizer
from jaxlm.errors import BadInput

ALPHABET = "\n0123456789="
END = "\n"  # ends an answer


@dataclass(frozen=True, kw_only=True)
class DigitPrompts:
    """Spec: all prompts of some digits and "=", such as "4203=", some of which are held out for the evaluation.

    Batches have "tokens" int32 [B, digits + 1], one id a character, and "keys" uint32 [B, 2]. An answer ends with a
    line feed.

    Attributes:
        digits: of a prompt, from 1 to 6; there are 10^digits prompts.
        batch: prompts in a training batch.
        held_out: prompts of the evaluation, drawn by a seed of their own, and in no training batch.
        eval_batch: prompts in an evaluation batch; None: as in training.
    """

    digits: int = 4
    batch: int = 32
    held_out: int = 500
    eval_batch: int | None = None

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput for numbers that cannot be, or unless a model has room for a prompt and its characters."""
        del repeat
        self.train()
        self.eval()
        check_tokens(model, self.build_tokenizer(), self.digits + 1, "data.digits")

    def build_tokenizer(self) -> CharacterTokenizer:
        """Return the tokenizer: one id for each character."""
        return CharacterTokenizer(ALPHABET)

    def _prompts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the prompts of training and of the evaluation, int32 [N, digits + 1]."""
        if not 1 <= self.digits <= 6:
            raise BadInput(f"data.digits is {self.digits}: it must be from 1 to 6")
        count = 10**self.digits
        if not 1 <= self.held_out < count:
            raise BadInput(f"data.held_out is {self.held_out}: hold out 1 to {count - 1:,} of the {count:,} prompts")
        numbers = np.random.default_rng(0).permutation(count)[:, None]
        digits = numbers // 10 ** np.arange(self.digits)[::-1] % 10
        tokens = np.pad(digits + ALPHABET.index("0"), ((0, 0), (0, 1)), constant_values=ALPHABET.index("="))
        return tokens[self.held_out :].astype(np.int32), tokens[: self.held_out].astype(np.int32)

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches."""
        return Shuffled(ArraySource({"tokens": self._prompts()[0]}), self.batch, seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation batches, with "mask" float32 [B]."""
        return InOrder(ArraySource({"tokens": self._prompts()[1]}), self.eval_batch or self.batch, keys=True)

    def example(self) -> np.ndarray:
        """Return a prompt; int32 zeros [1, digits + 1]."""
        return np.zeros((1, self.digits + 1), np.int32)

    def artefacts(self) -> dict[str, str]:
        """Return the tokenizer."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> Sequence[str]:
        """Return a line that counts the prompts."""
        train, held = self._prompts()
        return [f"data: {len(train):,} prompts of {self.digits} digits, and {len(held):,} held out"]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "texts"
