"""Answer with what is said in a recording of any length, and when, by a model of windows of sound, such as Whisper."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxlm.data.audio.recordings import to_pcm
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.decode.alignment import warped_path
from jaxlm.decode.seq2seq import EncoderDecoder
from jaxlm.decode.speech.transcription import SpeechPrompt, Transcription
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, in_evaluation, zeros
from jaxlm.predict.sound.speech import UNSPACED, ReadSpeech, read_samples, words_of
from jaxlm.steps import LossFn

OVERLAP = 6  # neighbouring windows share this part of their length, which is 5 of 30 seconds


def transcribed(model: EncoderDecoder, search: Transcription, prompt: SpeechPrompt, *, align: bool) -> LossFn:
    """Return a function with the arguments of a loss that gives what `Transcription` writes in place of the metrics."""

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        return search(model, {"params": params, **variables}, batch["features"], prompt, align=align), variables

    return function


@dataclass(frozen=True)
class ReadWindows(ReadSpeech):
    """Read recordings as `ReadSpeech` does, cut into windows of one length that overlap."""

    def prepared(self, given: Any) -> Prepared | BadInput:
        """Return one recording as the rows of its windows, with the place of each and the number of samples."""
        try:
            samples = to_pcm(read_samples(given, self.rate))
        except BadInput as error:
            return error
        window = self.widths[-1]
        overlap = window // OVERLAP
        starts = list(range(0, max(1, len(samples) - overlap), window - overlap))
        rows = []
        for start in starts:
            part = samples[start : start + window]
            padded = np.pad(part, (0, window - len(part)))
            rows.append({"audio": padded, "samples": np.asarray(len(part), np.int32)})
        return Prepared(rows, (starts, len(samples)))


@dataclass(frozen=True)
class WriteTranscript:
    """Answer with {"text", "language", "words": [{"word", "start", "end"}]}, in seconds.

    Of the words in the overlap of two windows those are kept that are on a window's own side of its middle, so that a
    word that one of them cuts is taken from the other. A word is as in `words_of`.

    Attributes:
        tokenizer: of the model.
        rate: samples a second.
        window: samples of a window.
        place: samples of a place of the encoded sound.
    """

    tokenizer: AnyTokenizer
    rate: int
    window: int
    place: int

    def __call__(self, outputs: Sequence[Example], context: tuple[list[int], int]) -> Answer:
        """Return the answer for the outputs of a recording's windows."""
        starts, samples = context
        text, words = "", []
        margin = self.window // OVERLAP / 2
        for number, (start, row) in enumerate(zip(starts, outputs, strict=True)):
            left = start + margin if number else -np.inf
            right = start + self.window - margin if number + 1 < len(starts) else np.inf
            heard = self.heard(row, min(self.window, samples - start))
            kept = [(word, times) for word, times in heard if left <= start + sum(times) / 2 < right]
            for word, times in kept:
                begin, end = (round((start + time) / self.rate, 3) for time in times)
                words.append({"word": word.strip(), "start": begin, "end": end})
            text = joined(text, "".join(word for word, _ in kept))
        return {"text": text, "language": self._language(outputs), "words": words}

    def text(self, row: Example) -> str:
        """Return the text of a window."""
        return self.tokenizer.decode(row["tokens"][: row["lengths"]]).strip()

    def heard(self, row: Example, samples: int) -> list[tuple[str, tuple[float, float]]]:
        """Return the words of a window, with the white space before them, and their first and last sample."""
        count = int(row["lengths"])
        tokens = row["tokens"][:count].tolist()
        if not count:
            return []
        places = min(row["attention"].shape[1], max(1, -(-samples // self.place)))
        times = np.minimum(warped_path(row["attention"][: count + 1, :places]) * self.place, samples)
        words = words_of(self.tokenizer, tokens)
        return [(word, (float(times[first]), float(times[last + 1]))) for word, first, last in words]

    def _language(self, outputs: Sequence[Example]) -> str | None:
        """Return the language of most windows, or None for a model of one language."""
        (most, _), *_ = Counter(int(row["language"]) for row in outputs).most_common()
        found = re.fullmatch(r"<\|([a-z]{2,3})\|>", self.tokenizer.decode([most]))
        return found[1] if found else None


def joined(text: str, more: str) -> str:
    """Return two texts as one, with a space between them unless the second begins in a script without spaces."""
    text, more = text.strip(), more.strip()
    return f"{text}{'' if re.match(f'[{UNSPACED}]', more) else ' '}{more}".strip()


def transcriber(function: LossFn, data: Any, tokenizer: AnyTokenizer) -> Predictor:
    """Compose the predictor of a run whose model transcribes windows of sound.

    Args:
        function: `transcribed(..., align=True)` under the transforms that the loss is under.
        data: the `data` of the config, a `SpokenText`.
        tokenizer: of the run.
    """
    window = data.widths[-1]
    answer = WriteTranscript(tokenizer, data.rate, window, 2 * data.features.hop)
    example = {"audio": np.zeros(window, np.int16), "samples": np.asarray(0, np.int32)}
    examples = (zeros(example, data.eval_batch or data.batch),)
    return Predictor(ReadWindows(data.rate, (window,)), in_evaluation(function), answer, examples)
