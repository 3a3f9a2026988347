"""Writing what is said with Whisper: its prompt, the tokens that it may not write, and where each one was heard.

B batch, F frames, M mel bands, P tokens of the prompt, T new tokens, S places of the encoded sound, V vocabulary.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.decode.alignment import HeadOfLayer, attention_to_source
from jaxlm.decode.beam import beam_search
from jaxlm.decode.seq2seq import EncoderDecoder
from jaxlm.errors import BadInput


class SpeechPrompt(NamedTuple):
    """The tokens that every transcript begins with.

    Attributes:
        tokens: of the prompt; where `languages` is not empty, the second one is chosen among these.
        languages: tokens to choose among, by the sound.
        end: the token that ends a transcript.
    """

    tokens: tuple[int, ...]
    languages: tuple[int, ...]
    end: int

    def rows(self, batch: int, predict: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Return the prompt of each row, int32 [B, P], with the most probable language where one is to be chosen.

        Args:
            batch: B.
            predict: first tokens [B, 1] -> logits [B, V] of the second ones.
        """
        tokens_BP = jnp.tile(jnp.array(self.tokens, jnp.int32)[None], (batch, 1))
        if not self.languages:
            return tokens_BP
        languages = jnp.array(self.languages, jnp.int32)
        return tokens_BP.at[:, 1].set(languages[predict(tokens_BP[:, :1])[:, languages].argmax(-1)])


@dataclass(frozen=True)
class Transcription:
    """Spec of how Whisper writes what is said in a window of sound (Radford et al. 2022, section 2.3).

    `jaxlm import` fills in what a folder says in its generation_config.json.

    Attributes:
        language: of the speech, such as "en"; None: the most probable one of each window.
        task: "transcribe", or "translate" into English.
        multilingual: whether the model knows languages and tasks; models of English alone have no tokens for them.
        beams: hypotheses that go on, see `beam_search`; 1 is greedy.
        penalty: power of the length that log-probabilities are divided by.
        length: new tokens at most.
        suppressed: tokens that are never written, such as those of sounds that are not speech.
        begin_suppressed: tokens that are not written first.
        heads: (layer, head) of the decoder that word times are read from; none: those of the upper half of its layers.
    """

    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    multilingual: bool = True
    beams: int = 5
    penalty: float = 1.0
    length: int = 220
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()
    heads: tuple[HeadOfLayer, ...] = ()

    def __post_init__(self) -> None:
        if self.beams < 1 or self.penalty < 0 or self.length < 1:
            raise BadInput(f"decode is {self}: beams and length are at least 1, penalty at least 0")

    def prompt(self, model: Any, tokenizer: Any) -> SpeechPrompt:
        """Return the prompt in the tokens of a Whisper's tokenizer.

        Raises:
            BadInput: the tokenizer has no such tokens; or prompt and `length` exceed the context of the model; or a
                token or a head is not in it.
        """
        self._check(model)

        def named(name: str) -> int:
            index = tokenizer.token(name)
            if index is None:
                raise BadInput(f"the tokenizer has no token {name}: take that of the Whisper, and its language")
            return index

        start, plain, end = map(named, ("<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"))
        if not self.multilingual:
            return SpeechPrompt((start, plain), (), end)
        task = named(f"<|{self.task}|>")
        if self.language is not None:
            return SpeechPrompt((start, named(f"<|{self.language}|>"), task, plain), (), end)
        known = tokenizer.special_tokens.items()
        languages = tuple(sorted(index for name, index in known if re.fullmatch(r"<\|[a-z]{2,3}\|>", name)))
        if not languages:
            raise BadInput("the tokenizer has no tokens of languages: set --decode.no-multilingual")
        return SpeechPrompt((start, languages[0], task, plain), languages, end)

    def __call__(
        self,
        model: EncoderDecoder,
        variables: Any,
        features_BFM: jax.Array,
        prompt: SpeechPrompt,
        *,
        align: bool = False,
    ) -> dict[str, jax.Array]:
        """Write the transcript of each window; a pure function of arrays.

        Law: a row's transcript does not depend on the other rows.

        Returns:
            "tokens" int32 [B, T], the end included; "lengths" int32 [B], without it; "language" int32 [B], the second
            token of the prompt; with `align` also "attention" float32 [B, T + 1, S], which says where each token and
            the end were heard (`attention_to_source`).
        """
        batch, slots = features_BFM.shape[0], len(prompt.tokens) + self.length

        def encoded(features: jax.Array) -> Any:
            return model.apply(variables, features, slots, method="init_cache")

        def decode(tokens_RT: jax.Array, cache: Any) -> Any:
            return model.apply(variables, tokens_RT, cache=cache, method="decode")

        cache = encoded(features_BFM)
        prompt_BP = prompt.rows(batch, lambda start_B1: decode(start_B1, cache)[0][:, -1])
        beyond = range(prompt.tokens[-1] + 1, model.vocab)  # tokens of time, which the prompt says are not written
        hidden_V, first_V = barred(model, (*self.suppressed, *beyond)), barred(model, self.begin_suppressed)

        def advance(tokens_R1: jax.Array, cache: Any) -> Any:
            inner, step = cache
            logits_R1V, inner = decode(tokens_R1, inner)
            hidden_11V = (hidden_V | (first_V & (step == 0)))[None, None]
            return jnp.where(hidden_11V, -jnp.inf, logits_R1V), (inner, step + 1)

        found = beam_search(
            advance,
            lambda size: (encoded(jnp.zeros((size, *features_BFM.shape[1:]), features_BFM.dtype)), jnp.int32(0)),
            (decode(prompt_BP[:, :-1], cache)[1], jnp.int32(0)),
            prompt_BP[:, -1],
            beams=self.beams,
            slots=self.length,
            length=self.length,
            stop=prompt.end,
            penalty=self.penalty,
        )
        tokens_BT, lengths_B = found.tokens[:, 0], found.lengths[:, 0]
        last_B = jnp.take_along_axis(tokens_BT, lengths_B[:, None] - 1, 1)[:, 0]
        lengths_B = lengths_B - (last_B == prompt.end)
        written = {"tokens": tokens_BT, "lengths": lengths_B, "language": prompt_BP[:, 1]}
        if not align:
            return written
        before = len(prompt.tokens) - 1  # row `before` is the token that the first new one is predicted from
        given_BT = jnp.concatenate([prompt_BP, tokens_BT], 1)
        place_T = jnp.arange(slots)[None] - before
        rows_BT = (place_T >= 0) & (place_T <= lengths_B[:, None])
        attention = attention_to_source(model, variables, cache, given_BT, rows_BT, self.heads)
        return written | {"attention": attention[:, before:]}

    def _check(self, model: Any) -> None:
        """Raise BadInput where this cannot be done with a model."""
        prompt = 4 if self.multilingual else 2
        if prompt + self.length > model.context:
            raise BadInput(
                f"decode.length is {self.length}, and with a prompt of {prompt} tokens that is more than the model's "
                f"context of {model.context}: lower it"
            )
        if wrong := [n for n in (*self.suppressed, *self.begin_suppressed) if not 0 <= n < model.vocab]:
            raise BadInput(f"decode suppresses the token {wrong[0]}, and the model has {model.vocab}: correct it")
        depth = getattr(model, "decoder_depth", None) or model.depth
        if wrong_heads := [pair for pair in self.heads if not (pair[0] < depth and pair[1] < model.heads)]:
            raise BadInput(f"decode.heads has {wrong_heads[0]}, and the decoder {depth} layers of {model.heads} heads")


def barred(model: Any, ids: Iterable[int]) -> np.ndarray:
    """Return which tokens of a model are among these, bool [V]."""
    found = np.zeros(model.vocab, bool)
    found[list(ids)] = True
    return found
