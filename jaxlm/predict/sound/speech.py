"""Answer with what is said in a recording, and when."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.files import read_audio
from jaxlm.data.audio.recordings import to_pcm
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.decode.speech.ctc import CTCSearch, align
from jaxlm.decode.speech.ngram import NGram
from jaxlm.errors import BadInput
from jaxlm.losses.ctc import CTCModel
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn

LANGUAGE = "ngram.json"  # the artefact of a run whose search has an n-gram model
AHEAD = 64  # recordings that are decoded at a time
# Thai and Lao, Burmese, Khmer, kana, and Chinese characters: no white space is between their words
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"\s*([{UNSPACED}][^\w\s]*|[^\s{UNSPACED}]+)")  # with the white space before it


def heard(model: CTCModel) -> LossFn:
    """Return a function with the arguments of a loss that gives the outputs of a CTC model in place of the metrics.

    They are {"log_probs": float32 [B, T, V + 1], "outputs": int32 [B], how many of them are not padding}.
    """

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key
        logits = model.apply({"params": params, **variables}, batch["features"], batch["frames"], train=train)
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
        return {"log_probs": log_probs, "outputs": model.outputs(batch["frames"])}, variables

    return function


@dataclass(frozen=True)
class ReadSpeech:
    """Read sound files, bytes of them, or arrays of samples [S] in -1 .. 1 at the rate of the model.

    Attributes:
        rate: samples a second; files of another rate are resampled, and several channels are mixed into one.
        widths: S of the rows, ascending; a longer recording has a multiple of the last one.
    """

    rate: int
    widths: tuple[int, ...]

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield {"audio": int16 [S], "samples": int32} for each input, or why it cannot be read."""
        rest = iter(inputs)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while some := list(islice(rest, AHEAD)):
                yield from pool.map(self.prepared, some)

    def prepared(self, given: Any) -> Prepared | BadInput:
        """Return one recording as its row, with its seconds, or why it cannot be read."""
        try:
            samples = to_pcm(read_samples(given, self.rate))
        except BadInput as error:
            return error
        last = self.widths[-1]
        width = next((width for width in self.widths if width >= len(samples)), -(-len(samples) // last) * last)
        row = {"audio": np.pad(samples, (0, width - len(samples))), "samples": np.asarray(len(samples), np.int32)}
        return Prepared([row], len(samples) / self.rate)


def read_samples(given: Any, rate: int) -> np.ndarray:
    """Return the samples of a sound file, of the bytes of one, or of an array at that rate; float32 [S].

    Raises:
        BadInput: it is none of these, or cannot be read.
    """
    if isinstance(given, str | Path | bytes):
        return read_audio(given, rate)
    samples = np.asarray(given)
    if samples.ndim != 1 or samples.dtype.kind != "f" or not len(samples) or not np.isfinite(samples).all():
        raise BadInput("not a recording: give a sound file, or an array of floats [samples] in -1 .. 1")
    return samples.astype(np.float32)


def words_of(tokenizer: AnyTokenizer, tokens: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Yield the words of a text with the white space before them, and the places of their first and last token.

    A character of a script that writes no white space between words is a word, with the marks that follow it.
    """
    ends = [len(tokenizer.decode(tokens[: number + 1])) for number in range(len(tokens))]
    for match in WORD.finditer(tokenizer.decode(tokens)):
        first = next(number for number, end in enumerate(ends) if end > match.start(1))
        yield match[0], first, next(number for number, end in enumerate(ends) if end >= match.end())


@dataclass(frozen=True)
class WriteHeard:
    """Answer with {"text": what is said, "words": [{"word", "start", "end"}]}, in seconds.

    A word begins with the first output of its first token and ends with the last output of its last token, on the most
    probable path of the text. CTC outputs are peaks, so words are shorter here than when they are spoken.

    Attributes:
        tokenizer: of the run.
        search: for what is said.
        blank: its column of the outputs.
        step: seconds from one output to the next.
        language: an n-gram model of tokens; None: none.
    """

    tokenizer: AnyTokenizer
    search: CTCSearch
    blank: int
    step: float
    language: NGram | None = None

    def __call__(self, outputs: Sequence[Example], context: float) -> Answer:
        """Return the answer for the outputs of a recording of `context` seconds."""
        log_probs = outputs[0]["log_probs"][: outputs[0]["outputs"]]
        tokens = self.search(log_probs, self.blank, self.language)
        text, times = self.tokenizer.decode(tokens), align(log_probs, tokens, self.blank)
        words = []
        for word, first, last in words_of(self.tokenizer, tokens):
            start, end = times[first][0] * self.step, min(times[last][1] * self.step, context)
            words.append({"word": word.strip(), "start": round(start, 3), "end": round(end, 3)})
        return {"text": " ".join(text.split()), "words": words}

    def text(self, log_probs_TV: np.ndarray) -> str:
        """Return what is said, for outputs without padding."""
        return " ".join(self.tokenizer.decode(self.search(log_probs_TV, self.blank, self.language)).split())


def listener(config: Any, tokenizer: AnyTokenizer, language: NGram | None) -> WriteHeard:
    """Return what turns the outputs of a config's model into texts."""
    model, features = config.model, config.data.features
    return WriteHeard(tokenizer, config.decode, model.blank, model.stride * features.hop / features.rate, language)


def recogniser(function: LossFn, config: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run whose model recognises speech.

    Args:
        function: `heard(model)` under the transforms that the loss is under.
        config: of the run; its data are a spec of `jaxlm.data.audio`.
        run: whose tokenizer.json is read, and ngram.json where the search has a language model.
    """
    data = config.data
    language = NGram.from_json(run.artefact(LANGUAGE)) if config.decode.order else None
    batch = data.eval_batch or data.batch
    rows = ({"audio": np.zeros(width, np.int16), "samples": np.int32(0)} for width in data.widths)
    examples = tuple(zeros({name: np.asarray(x) for name, x in row.items()}, batch) for row in rows)
    answer = listener(config, load_tokenizer(run.artefact("tokenizer.json")), language)
    return Predictor(ReadSpeech(data.rate, data.widths), in_evaluation(function), answer, examples)
