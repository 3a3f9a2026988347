"""Recordings and what is said in them, as training and evaluation data: what all specs share; they are in `sources`."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from jaxlm.data.audio.augment import SpecAugment, apply_waves, standardise, to_float
from jaxlm.data.audio.recordings import DecodedSpeech, RecordingRows, Utterance, decode_all
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.strings import StringRows, Strings
from jaxlm.data.model_checks import read_size
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.data.ragged import Bucketed, check_widths
from jaxlm.data.text.clean import Clean
from jaxlm.data.tokenizers.protocol import encode_rows
from jaxlm.data.tokenizers.specs import BPE, AnyTokenizer, Bytes, Characters, Pretrained, Subwords, Words
from jaxlm.errors import BadInput

NAMED = 5  # utterances that a line names


@dataclass(frozen=True, eq=False)
class SpeechRows:
    """A split in memory.

    Attributes:
        rows: the recordings.
        places: the place of each utterance of the split, for messages.
        counts: what is in it, and what was done to it, for a line at the start of a run.
    """

    rows: RecordingRows
    places: Sequence[str]
    counts: dict[str, int]


@dataclass(frozen=True, eq=False)
class LoadedSpeech:
    """Both splits, decoded, and the tokenizer of their texts."""

    train: SpeechRows
    eval: SpeechRows
    tokenizer: AnyTokenizer


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Spec: recordings with their texts, in batches of a few lengths.

    Batches have "audio" int16 [B, S], "samples" int32 [B], "targets" int32 [B, L], "target_lengths" int32 [B], "row"
    int32 [B] and "mask" float32 [B], see `RecordingRows.take`. A training recording that is longer than the last of
    `widths` is left out; one of the evaluation is an error, since what is cut off is said too.

    Attributes:
        batch: utterances in a training batch.
        eval_batch: utterances in an evaluation batch; None: as in training.
        widths: S of the batches, ascending (see `Bucketed`).
        lower: whether texts are lower-cased.
        clean: operations on the texts before they are tokenised.
        tokenizer: of the texts.
        features: the spectrogram, computed inside the step, whose bands are standardised for each recording. Recordings
            of another rate than it has are resampled, and several channels are mixed into one.
        augment: operations of `jaxlm.data.audio.augment` on the samples, in training.
        spec_augment: bands of time and frequency that are hidden in training; None: none.
        strings: join recordings into longer ones in both splits; None: each on its own.
    """

    batch: int = 32
    eval_batch: int | None = None
    widths: tuple[int, ...] = (32000, 64000, 128000, 256000)
    lower: bool = True
    clean: Clean = field(default_factory=lambda: Clean(unicode="NFC", spaces=True, strip=True))
    tokenizer: Characters | Words | Subwords | BPE | Bytes | Pretrained = field(default_factory=Characters)
    features: LogMel = field(default_factory=LogMel)
    augment: tuple[Any, ...] = ()
    spec_augment: SpecAugment | None = field(default_factory=SpecAugment)
    strings: Strings | None = None

    def load(self) -> tuple[list[Utterance], list[Utterance]]:
        """Return the utterances for training and for evaluation."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return what changes when the data change, without decoding them: sizes and times of files."""
        raise NotImplementedError

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self.features.rate

    def loaded(self) -> LoadedSpeech:
        """Return both splits, decoded once a process.

        Raises:
            BadInput: a recording cannot be read, or a text is empty; names its place.
        """
        check_widths(self.widths)
        plain = {"batch": 1, "eval_batch": None, "augment": (), "spec_augment": None}
        key = dataclasses.replace(self, widths=self.widths[-1:], strings=None, **plain)  # type: ignore[arg-type]
        return _load_speech(key, self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Bucketed | Shuffled:
        """Return the training batches, with "keys", from which augmentation draws."""
        rows = self.loaded().train.rows
        if self.strings is not None:
            return Shuffled(self._joined(rows, len(rows)), self.batch, seed, noise, keys=True)
        return Bucketed(rows, self.batch, self.widths, seed, noise, keys=True)  # type: ignore[arg-type]

    def eval(self) -> Bucketed | InOrder:
        """Return the evaluation batches: every utterance, or string of them, exactly once."""
        rows, batch = self.loaded().eval.rows, self.eval_batch or self.batch
        if self.strings is not None:
            return InOrder(self._joined(rows, self.strings.count), batch, keys=True)
        return Bucketed(rows, batch, self.widths, keys=True)  # type: ignore[arg-type]

    def _joined(self, rows: RecordingRows, count: int) -> StringRows:
        assert self.strings is not None
        room = int(max(rows.sizes) + 2 * self.strings.pause[1] * self.rate) + 1
        if self.widths[1:] or self.widths[-1] < room:
            raise BadInput(f"data.widths is {self.widths}: strings need one width, of at least {room:,} samples here")
        return StringRows(rows, self.strings, self.rate, self.widths[-1], self.build_tokenizer(), count)

    def references(self) -> Sequence[str]:
        """Return what is said in the evaluation, by the "row" of a batch."""
        rows = self.loaded().eval.rows
        return rows.texts if self.strings is None else self._joined(rows, self.strings.count).texts()

    def example(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what a model is initialised with: features float32 [1, F, M], and how many frames there are."""
        frames = int(self.features.frames(self.widths[0]))
        return np.zeros((1, frames, self.features.bands), np.float32), np.full(1, frames, np.int32)

    def prepare(self, batch: Any) -> Any:
        """Put "features" float32 [B, F, M] and "frames" int32 [B] instead of "audio"; for use inside a step.

        A batch that has features already, from `augmented`, is returned as it is.
        """
        if "features" in batch:
            return batch
        frames: Any = self.features.frames(batch["samples"])
        features = standardise(self.features(to_float(batch["audio"]), batch["samples"]), frames)
        return {**{name: x for name, x in batch.items() if name != "audio"}, "features": features, "frames": frames}

    def augmented(self, batch: Any) -> Any:
        """Apply `augment`, compute the features and apply `spec_augment`, in training; for use inside a step."""
        batch = self.prepare(apply_waves(self.augment, batch, self.rate))
        return batch if self.spec_augment is None else self.spec_augment(batch)

    def build_tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer of these texts."""
        return self.loaded().tokenizer

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split, with what was resampled, mixed and left out."""
        found = self.loaded()
        return [summary_line("train", found.train.counts), summary_line("eval", found.eval.counts)]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "utterances"

    def check(self, model: object, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model (its `vocab` and `bands`)."""
        check_widths(self.widths, repeat)
        tokens, bands = self.build_tokenizer().vocab, self.features.bands
        if (vocab := read_size(model, "vocab")) < tokens:
            raise BadInput(f"the tokenizer has {tokens} tokens and the model {vocab}: set --model.vocab {tokens}")
        if (found := read_size(model, "bands")) != bands:
            raise BadInput(f"data.features.bands is {bands} and model.bands {found}: make them equal")
        self.train(), self.eval()

    def normalise(self, texts: Sequence[str]) -> list[str]:
        """Return texts as they are tokenised: cleaned, and in lower case where that is asked for."""
        cleaned, _ = self.clean(texts)
        return [text.lower() for text in cleaned] if self.lower else cleaned

    def too_short(self, outputs: Callable[[int], int]) -> list[str]:
        """Return a line about each split with utterances that have fewer outputs than their targets need.

        Such an utterance has no CTC path; the loss leaves it out and counts it.

        Args:
            outputs: frames -> outputs of the model.
        """
        lines = []
        for name, split in (("train", self.loaded().train), ("eval", self.loaded().eval)):
            pairs = zip(split.rows.sizes, split.rows.targets, strict=True)
            room = [outputs(int(self.features.frames(int(size)))) - needed(target) for size, target in pairs]
            short = [split.places[number] for number in split.rows.numbers[np.array(room) < 0]]
            if short and self.strings is None:
                named = ", ".join(short[:NAMED]) + (", ..." if short[NAMED:] else "")
                lines.append(f"{name} data: {len(short):,} targets longer than the audio allows, masked: {named}")
        return lines


def needed(target_L: np.ndarray) -> int:
    """Return the outputs that a CTC path of a target needs: its tokens, and a blank between two that are the same."""
    return len(target_L) + int((target_L[1:] == target_L[:-1]).sum())


@lru_cache(maxsize=4)
def _load_speech(spec: Speech, signature: Hashable) -> LoadedSpeech:
    """Return the splits of a spec, decoded once a process."""
    del signature
    splits = []
    for name, found in zip(("training", "evaluation"), spec.load(), strict=True):
        if not found:
            raise BadInput(f"the {name} split has no recordings: add some")
        splits.append(([*found], spec.normalise([one.text for one in found]), decode_all(found, spec.rate)))
    tokenizer = spec.tokenizer.build(splits[0][1])
    train, evaluation = (_to_rows(spec, tokenizer, *split, cut=split is splits[0]) for split in splits)
    return LoadedSpeech(train, evaluation, tokenizer)


def _to_rows(
    spec: Speech,
    tokenizer: AnyTokenizer,
    found: list[Utterance],
    texts: list[str],
    decoded: DecodedSpeech,
    *,
    cut: bool,
) -> SpeechRows:
    """Return a split as rows; recordings that are too long are left out where `cut`, else they are an error."""
    sizes, width = np.array([len(samples) for samples in decoded.samples]), spec.widths[-1]
    long = np.flatnonzero(sizes > width)
    if len(long) and (not cut or len(long) == len(found)):
        where, size = found[long[0]].where, sizes[long[0]]
        raise BadInput(f"{where} has {size:,} samples, and the last of data.widths is {width:,}: raise that")
    kept = np.flatnonzero(sizes <= width)
    targets = encode_rows(tokenizer, texts, lambda row: found[row].where)
    rows = RecordingRows(
        [decoded.samples[row] for row in kept],
        [targets[row].astype(np.int32) for row in kept],
        kept.astype(np.int32),
        texts,
        [found[row].speaker for row in kept],
    )
    counts = {"recordings": len(kept), "seconds": int(sizes[kept].sum() / spec.rate)}
    done = {f"resampled to {spec.rate} Hz": decoded.resampled, "mixed to one channel": decoded.mixed}
    done[f"left out for more than {width:,} samples"] = len(long)
    return SpeechRows(rows, [one.where for one in found], counts | {what: n for what, n in done.items() if n})
