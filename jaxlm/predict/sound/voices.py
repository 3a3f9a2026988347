"""Answer with a text as it is spoken, in a chosen voice.

L tokens, T frames, M mel bands.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.audio.files import encode_wav
from jaxlm.data.audio.pictures import spectrogram_png
from jaxlm.data.audio.recordings import target_room
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.specs import AnyTokenizer
from jaxlm.decode.flow import FASTEST, SLOWEST, Speak
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, answer_all, in_evaluation, zeros
from jaxlm.predict.sound.vocoders import by_griffin_lim, load_vocoder
from jaxlm.steps import LossFn, Model

MAX_FRAMES = 1 << 17  # of a text that there is room for: 25 minutes at 22 kHz with a hop of 256, and 84 MB of noise
PURPOSE = 9  # separates these draws from others of a seed


def spoken(model: Model, speak: Speak) -> LossFn:
    """Return a function with the arguments of a loss that gives spoken texts in place of the metrics.

    They are {"mel": float32 [B, T, M], normalised, "frames": int32 [B], "durations": int32 [B, L]}.
    """

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        inputs = (batch[name] for name in ("tokens", "token_lengths", "speaker", "noise", "speed"))
        found = speak(model, {"params": params, **variables}, *inputs)
        return {"mel": found.mel_BTM, "frames": found.frames_B, "durations": found.durations_BL}, variables

    return function


@dataclass(frozen=True, kw_only=True)
class ReadTexts:
    """Make rows of texts that are to be spoken; of a text whose tokenizer has no space, a row for each word.

    An input is a text, [text, speaker], or {"text", "speaker"}. Rows: "tokens" int32 [L], "token_lengths" and
    "speaker" int32, "noise" float32 [T, M] and "speed" float32.

    Attributes:
        tokenizer: of the run.
        speakers: names of the voices.
        bands: mel bands M.
        clean: operations on the texts before they are tokenised.
        lower: whether texts are lower-cased.
        frames: of a token, on average, that there is room for.
        temperature: of the noise.
        speed: of the speech, 0.25 to 4.
        seed: of the noise, which is a function of (seed, number of the input, frame, band).
        speaker: the voice of texts that name none; None: the first one.
    """

    tokenizer: AnyTokenizer
    speakers: tuple[str, ...]
    bands: int
    clean: Clean = field(default_factory=Clean)
    lower: bool = True
    frames: int = 16
    temperature: float = 0.667
    speed: float = 1.0
    seed: int = 0
    speaker: str | None = None

    options: ClassVar[tuple[str, ...]] = ("temperature", "speed", "seed", "speaker")

    def __post_init__(self) -> None:
        """Check the options; raises BadInput."""
        if not 0 <= self.temperature < math.inf or not SLOWEST <= self.speed <= FASTEST or self.seed < 0:
            raise BadInput(
                f"temperature is {self.temperature}, speed {self.speed} and seed {self.seed}: give at least 0, "
                f"{SLOWEST} to {FASTEST} and at least 0"
            )
        self.voice(self.speaker)

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield the rows of each input with the name of its speaker, or why there are none."""
        for number, given in enumerate(inputs):
            try:
                text, name = _text_and_speaker(given)
                voice = self.voice(self.speaker if name is None else name)
                pieces = self.pieces(text)
                if (frames := sum(self.room(piece) for piece in pieces)) > MAX_FRAMES:
                    raise BadInput(
                        f"a text with room for {frames:,} frames, of at most {MAX_FRAMES:,}: give it in parts"
                    )
                yield Prepared([self.row(piece, voice, (number, k)) for k, piece in enumerate(pieces)], voice)
            except BadInput as error:
                yield error

    def voice(self, name: str | None) -> int:
        """Return the number of a speaker.

        Raises:
            BadInput: there is no such speaker.
        """
        if name is not None and name not in self.speakers:
            raise BadInput(f"there is no speaker {name!r}: the voices are {', '.join(self.speakers)}")
        return 0 if name is None else self.speakers.index(name)

    def pieces(self, text: Any) -> list[np.ndarray]:
        """Return the tokens of a text, or of each of its words.

        Raises:
            BadInput: it is not a text, is empty, or has a character that was not in the training texts.
        """
        if not isinstance(text, str):
            raise BadInput('not a text: give one, or {"text": ..., "speaker": ...}')
        (cleaned,), _ = self.clean([text])
        cleaned = cleaned.lower() if self.lower else cleaned
        if not cleaned.strip():
            raise BadInput("an empty text: give some words or leave it out")
        try:
            self.tokenizer.encode(" ")
        except BadInput:
            return [self.tokenizer.encode(word) for word in cleaned.split()]
        return [self.tokenizer.encode(cleaned)]

    def room(self, tokens: np.ndarray) -> int:
        """Return the frames that there is room for in the row of a piece."""
        return math.ceil(target_room(len(tokens) + 2) * self.frames / self.speed)

    def row(self, tokens: np.ndarray, voice: int, place: tuple[int, int]) -> Example:
        """Return the row of a piece; `place` is the number of the input and that of the piece."""
        length = len(tokens) + 2
        width = target_room(length)
        padded = np.full(width, self.tokenizer.vocab, np.int32)
        padded[1 : 1 + len(tokens)] = tokens
        return {
            "tokens": padded,
            "token_lengths": np.asarray(length, np.int32),
            "speaker": np.asarray(voice, np.int32),
            "noise": np.float32(self.temperature) * normal_noise((self.seed, *place), self.room(tokens), self.bands),
            "speed": np.asarray(self.speed, np.float32),
        }


def _text_and_speaker(given: Any) -> tuple[Any, str | None]:
    if isinstance(given, Mapping):
        return given.get("text"), given.get("speaker")
    if isinstance(given, list | tuple) and len(given) == 2:
        return given[0], given[1]
    return given, None


def normal_noise(seeds: Sequence[int], rows: int, columns: int) -> np.ndarray:
    """Return noise from N(0, 1), float32 [rows, columns], a function of the seeds; more rows leave the first ones.

    Box & Muller 1958, from raw words, which NumPy keeps the same in every release.
    """
    words = np.random.Philox(np.random.SeedSequence([PURPOSE, *seeds])).random_raw(rows * columns)
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + 1.0) / 2.0**32))
    turn = 2 * np.pi * (words & np.uint64(2**32 - 1)) / 2.0**32
    return (radius * np.cos(turn)).astype(np.float32).reshape(rows, columns)


@dataclass(frozen=True, kw_only=True)
class WriteSpeech:
    """Answer with {"samples": a list of floats in -1 .. 1, "rate", "seconds", "speaker"}.

    Attributes:
        features: the spectrogram of the run.
        centre, spread: of its normalisation, see `Voices`.
        speakers: names of the voices.
        pause: seconds between pieces.
        iterations: of the Griffin-Lim algorithm, where there is no vocoder.
        vocoder: the run of a vocoder; None: the Griffin-Lim algorithm.
    """

    features: LogMel
    centre: float
    spread: float
    speakers: tuple[str, ...]
    pause: float = 0.15
    iterations: int = 60
    vocoder: str | None = None

    options: ClassVar[tuple[str, ...]] = ("pause", "vocoder")
    files: ClassVar[tuple[str, ...]] = ("vocoder",)  # what names a file of this machine

    def __call__(self, outputs: Sequence[Example], context: int) -> Answer:
        """Return the answer for the pieces of a text in the voice of that number.

        Raises:
            BadInput: a piece has more frames than there is room for.
        """
        if self.vocoder is None:
            vocode = by_griffin_lim(self.features, self.iterations)
        else:
            vocode = load_vocoder(self.vocoder, self.features)
        silence = np.zeros(round(self.pause * self.features.rate), np.float32)
        parts: list[np.ndarray] = []
        for row in outputs:
            frames, room = int(row["frames"]), len(row["mel"])
            if frames > room:
                raise BadInput(f"a text of {frames} frames, and there is room for {room}: raise decode.frames")
            parts += [silence, vocode(row["mel"][:frames] * self.spread + self.centre)]
        samples = np.concatenate(parts[1:])
        seconds = len(samples) / self.features.rate
        voice = self.speakers[context]
        return {"samples": samples.tolist(), "rate": self.features.rate, "seconds": seconds, "speaker": voice}


def voice_predictor(function: LossFn, config: Any, tokenizer: AnyTokenizer, speakers: tuple[str, ...]) -> Predictor:
    """Compose the predictor of a model that speaks.

    Args:
        function: `spoken(model, speak)` under the transforms that the loss is under.
        config: of the run; its data are a `Voices`.
        tokenizer: of the run.
        speakers: names of its voices.
    """
    data, speak = config.data, config.decode
    read = ReadTexts(
        tokenizer=tokenizer,
        speakers=speakers,
        bands=data.features.bands,
        clean=data.speech.clean,
        lower=data.speech.lower,
        frames=speak.frames,
        temperature=speak.temperature,
        speed=speak.speed,
    )
    write = WriteSpeech(
        features=data.features,
        centre=data.centre,
        spread=data.spread,
        speakers=speakers,
        pause=speak.pause,
        iterations=speak.iterations,
        vocoder=speak.vocoder,
    )
    example = read.row(np.zeros(0, np.int32), 0, (0, 0))
    return Predictor(read, in_evaluation(function), write, (zeros(example, data.eval_batch or data.batch),))


def sound_files(predictor: Predictor, variables: Any, inputs: Sequence[Any], features: LogMel) -> dict[str, bytes]:
    """Return what to listen to and look at: "speech.wav" with all inputs one after the other, "spectrogram.png"."""
    answers = answer_all(predictor, variables, inputs)
    samples = [np.array(answer["samples"], np.float32) for answer in answers if not isinstance(answer, BadInput)]
    sound = np.concatenate(samples)
    mel = np.asarray(features(jnp.asarray(sound[None])))[0]
    return {"speech.wav": encode_wav(sound, features.rate), "spectrogram.png": spectrogram_png(mel)}
