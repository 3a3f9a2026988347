"""Specs of speech: manifests, and the layouts of LJSpeech, LibriSpeech and the Free Spoken Digit Dataset."""

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlm.data.audio.recordings import Utterance
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.utterances import Speech
from jaxlm.data.readers.records import read_json_lines, to_text
from jaxlm.data.readers.text import read_text, to_lines
from jaxlm.errors import BadInput

DIGIT_FEATURES = LogMel(rate=8000, window=200, hop=80, bands=40, low=60.0, floor=1e-5)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class Manifest(Speech):
    """Spec: a file of JSON lines for each split, `{"audio": "a.flac", "text": "what is said"}`.

    A line may have "speaker", and "start" and "end" in seconds for a part of a file. A path that is not absolute is
    from the folder of the manifest.

    Attributes:
        train_file: for training.
        eval_file: for evaluation.
    """

    train_file: str = "train.jsonl"
    eval_file: str = "eval.jsonl"

    def load(self) -> tuple[list[Utterance], list[Utterance]]:
        """Return the utterances of both files.

        Raises:
            BadInput: a file cannot be read, or a line is not such an object.
        """
        train, evaluation = map(_path, (self.train_file, self.eval_file))
        return list(read_manifest(train)), list(read_manifest(evaluation))

    def signature(self) -> Hashable:
        """Return the sizes and times of the files."""
        return _stats([_path(self.train_file), _path(self.eval_file)])


@dataclass(frozen=True, kw_only=True)
class LJSpeech(Speech):
    """Spec: the layout of LJSpeech (Ito & Johnson 2017): `metadata.csv` with `name|text|normalised text`, and `wavs/`.

    Attributes:
        folder: of metadata.csv.
        held_out: the last so many lines are for evaluation.
        features: the spectrogram.
    """

    folder: str = "LJSpeech-1.1"
    held_out: int = 500
    features: LogMel = field(default_factory=lambda: LogMel(rate=22050, window=1024, hop=256))

    def load(self) -> tuple[list[Utterance], list[Utterance]]:
        """Return the utterances of both splits.

        Raises:
            BadInput: metadata.csv cannot be read, or has too few lines.
        """
        found = read_ljspeech(_path(self.folder))
        if not 0 < self.held_out < len(found):
            raise BadInput(
                f"data.held_out is {self.held_out} and {self.folder} has {len(found)} lines: hold out fewer, at least 1"
            )
        return found[: -self.held_out], found[-self.held_out :]

    def signature(self) -> Hashable:
        """Return size and time of metadata.csv."""
        return _stats([_path(self.folder) / "metadata.csv"])


@dataclass(frozen=True, kw_only=True)
class LibriSpeech(Speech):
    """Spec: the layout of LibriSpeech (Panayotov et al. 2015): SUBSET/SPEAKER/CHAPTER/*.trans.txt beside FLAC files.

    Attributes:
        folder: of the subsets.
        train_subsets: for training.
        eval_subsets: for evaluation.
    """

    folder: str = "LibriSpeech"
    train_subsets: tuple[str, ...] = ("train-clean-100",)
    eval_subsets: tuple[str, ...] = ("dev-clean",)

    def load(self) -> tuple[list[Utterance], list[Utterance]]:
        """Return the utterances of both splits.

        Raises:
            BadInput: a subset has no transcripts, or a line of one is not `ID TEXT`.
        """
        root = _path(self.folder)
        train, evaluation = (
            [one for name in names for one in read_librispeech(root / name)]
            for names in (self.train_subsets, self.eval_subsets)
        )
        return train, evaluation

    def signature(self) -> Hashable:
        """Return sizes and times of the transcripts."""
        root = _path(self.folder)
        return _stats(
            [file for name in (*self.train_subsets, *self.eval_subsets) for file in _transcripts(root / name)]
        )


@dataclass(frozen=True, kw_only=True)
class SpokenDigits(Speech):
    """Spec: the layout of the Free Spoken Digit Dataset (Jackson et al. 2018), `{digit}_{speaker}_{index}.wav`.

    Attributes:
        folder: of the files.
        test: indices below this are for evaluation, which is the set's own split.
        leave_out: a speaker of whom all recordings are for evaluation, and none for training, whatever their indices;
            None: the set's own split.
        features: the spectrogram.
    """

    folder: str = "spoken_digit"
    test: int = 5
    leave_out: str | None = None
    features: LogMel = DIGIT_FEATURES

    def load(self) -> tuple[list[Utterance], list[Utterance]]:
        """Return the utterances of both splits.

        Raises:
            BadInput: there are no such files, or no such speaker.
        """
        found = list(read_spoken_digits(_path(self.folder)))
        speakers = {one.speaker for one, _ in found}
        if self.leave_out is not None and self.leave_out not in speakers:
            raise BadInput(f"data.leave_out is {self.leave_out}: the speakers are {', '.join(sorted(speakers))}")

        def is_test(one: Utterance, index: int) -> bool:
            return index < self.test if self.leave_out is None else one.speaker == self.leave_out

        train = [one for one, index in found if not is_test(one, index)]
        return train, [one for one, index in found if is_test(one, index)]

    def signature(self) -> Hashable:
        """Return sizes and times of the files."""
        return _stats(sorted(_path(self.folder).glob("*.wav")))


def read_manifest(path: Path) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, see `Manifest`.

    Raises:
        BadInput: a line that is not such an object; names file and line.
    """
    for line, record in read_json_lines(path, read_text(path)):
        where = f"{path} line {line}"
        for name in ("audio", "text"):
            if not isinstance(record.get(name), str):
                has = ", ".join(record) or "nothing"
                raise BadInput(f'{where}: no text {name!r} there (it has {has}): write {{"audio": ..., "text": ...}}')
        speaker = "" if record.get("speaker") is None else to_text(record["speaker"], where, "speaker")
        start, end = (_seconds(record.get(name), where, name) for name in ("start", "end"))
        audio = path.parent / Path(record["audio"]).expanduser()
        yield Utterance(audio, record["text"], where, speaker, start or 0.0, end)


def _seconds(value: Any, where: str, name: str) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise BadInput(f"{where}: {name!r} is {value!r}: give seconds, as a number")


def read_ljspeech(folder: Path) -> list[Utterance]:
    """Return the utterances of a folder in the layout of LJSpeech; the normalised text where a line has one.

    Raises:
        BadInput: metadata.csv cannot be read, or a line has no text.
    """
    path, found = folder / "metadata.csv", []
    for number, line in enumerate(to_lines(read_text(path)), 1):
        name, *texts = line.split("|")
        if not texts:
            raise BadInput(f"{path} line {number} is not NAME|TEXT|NORMALISED TEXT: correct it")
        found.append(Utterance(folder / "wavs" / f"{name}.wav", texts[-1] or texts[0], f"{path} line {number}"))
    return found


def read_librispeech(folder: Path) -> Iterator[Utterance]:
    """Yield the utterances of a subset of LibriSpeech, in the order of their names.

    Raises:
        BadInput: there are no transcripts, or a line has no text.
    """
    files = _transcripts(folder)
    if not files:
        raise BadInput(f"{folder} has no SPEAKER/CHAPTER/*.trans.txt: unpack LibriSpeech there")
    for path in files:
        for number, line in enumerate(to_lines(read_text(path)), 1):
            name, _, text = line.partition(" ")
            yield Utterance(path.with_name(f"{name}.flac"), text, f"{path} line {number}", path.parent.parent.name)


def _transcripts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.trans.txt"))


def read_spoken_digits(folder: Path) -> Iterator[tuple[Utterance, int]]:
    """Yield the utterances of the Free Spoken Digit Dataset, the digit as a word, and their indices.

    Raises:
        BadInput: there are no files of such names.
    """
    names = [(path, re.fullmatch(r"(\d)_(\w+?)_(\d+)", path.stem)) for path in sorted(folder.glob("*.wav"))]
    if not any(match for _, match in names):
        raise BadInput(f"{folder} has no files called DIGIT_SPEAKER_INDEX.wav: name the folder of the recordings")
    for path, match in names:
        if match:
            yield Utterance(path, DIGITS[int(match[1])], str(path), match[2]), int(match[3])


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _stats(paths: list[Path]) -> Hashable:
    found = [path.stat() for path in paths if path.is_file()]
    return tuple((status.st_size, status.st_mtime_ns) for status in found)
