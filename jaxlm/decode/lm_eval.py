"""Evaluation by lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness): its model interface."""

from collections.abc import Sequence
from typing import Any

import jax
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from jaxlm.decode.generate import Decoder
from jaxlm.decode.score import score
from jaxlm.decode.text import Codec, continue_text
from jaxlm.errors import BadInput


class LMEvalModel(TemplateLM):
    """A model, its variables and its tokenizer for lm-evaluation-harness: `simple_evaluate(LMEvalModel(...), ...)`.

    A text is encoded as in training, after the tokens that the tokenizer puts before every text. A text without context
    comes after `begin`; without `begin`, after the last of these tokens, or else after the separator of documents.

    Args:
        model: a causal language model.
        variables: its variables.
        tokenizer: encodes and decodes text.
        batch: number of rows at a time; scores depend on it in the last digits only.
        begin: a text to start with, for tokenizers without a beginning token, such as a newline for characters.
    """

    backend = "causal"

    def __init__(self, model: Decoder, variables: Any, tokenizer: Codec, *, batch: int = 8, begin: str = ""):
        super().__init__()
        self.model, self.variables, self.codec, self.batch, self.begin = model, variables, tokenizer, batch, begin

    @property
    def eot_token_id(self) -> int:
        """The token before a text without context. Raises BadInput where there is none."""
        separator = self.codec.separator
        usual = [*self.codec.frame().before] or ([] if separator is None else [separator])
        tokens = self.tok_encode(self.begin, add_special_tokens=False) or usual
        if not tokens:
            raise BadInput(
                "the tokenizer has no token that begins a text: say after which text one begins, as --begin ."
            )
        return tokens[-1]

    def tok_encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """Encode a text; with `add_special_tokens` False, as the continuation of another one."""
        before = [] if add_special_tokens is False else [*self.codec.frame().before]
        return before + self.codec.encode(string).tolist()

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        del disable_tqdm
        # the harness moves white space from a context's end to the continuation, and may leave nothing of it
        pairs = [(before or [self.eot_token_id], after) for _, before, after in requests]
        return score(self.model, self.variables, pairs, batch=self.batch)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Compute the log-probability in nats of whole texts, in parts where they exceed the model's context."""
        del disable_tqdm
        windows = [
            (number, *make_disjoint_window(window))
            for number, request in enumerate(requests)
            for window in get_rolling_token_windows(
                self.tok_encode(request.args[0], add_special_tokens=False), self.eot_token_id, self.model.context, 1
            )
        ]
        totals = [0.0] * len(requests)
        pairs = [(before, after) for _, before, after in windows]
        for (number, *_), (total, _) in zip(
            windows, score(self.model, self.variables, pairs, batch=self.batch), strict=True
        ):
            totals[number] += total
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate greedy continuations, up to the first text of `until`.

        Raises:
            BadInput: a task asks for random sampling.
        """
        del disable_tqdm
        groups: dict[int, list[int]] = {}
        options = [normalize_gen_kwargs(request.args[1]) for request in requests]
        for number, (request, option) in enumerate(zip(requests, options, strict=True)):
            if option["do_sample"]:
                raise BadInput(f"{request.task_name} draws at random: only greedy decoding is offered here")
            groups.setdefault(option["max_gen_toks"], []).append(number)
        texts = [""] * len(requests)
        for length, numbers in groups.items():
            for first in range(0, len(numbers), self.batch):
                chosen = numbers[first : first + self.batch]
                prompts = [requests[number].args[0] or self.begin for number in chosen]
                for number, text in zip(chosen, self._continue(prompts, length), strict=True):
                    texts[number] = postprocess_generated_text(text, options[number]["until"], None)
        return texts

    def _continue(self, prompts: Sequence[str], length: int) -> list[str]:
        key = jax.random.key(0)  # nothing is drawn
        return continue_text(self.model, self.variables, self.codec, prompts, key, length=length, temperature=0.0)
