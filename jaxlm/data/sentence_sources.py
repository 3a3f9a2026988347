"""Where labelled texts come from: TFDS by name, the question sets of TREC, and files of the user's own."""

import csv
import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from jaxlm.data.sentences import Labelled, Sentences
from jaxlm.data.tfds_text import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput

LONGEST = 1 << 30  # characters of a field of a table


class Row(NamedTuple):
    """A line of a file."""

    line: int
    text: str
    second: str
    label: str


@dataclass(frozen=True, kw_only=True)
class TfdsSentences(Sentences):
    """Spec: a TFDS dataset with a text feature and a class label (see `TfdsText` for where it is read from).

    Attributes:
        name: the dataset, with its configuration where it has one.
        text: the name of the text feature.
        second: that of a second text, "" for none.
        label: the name of the class label.
        train_split: the training split.
        eval_split: the evaluation split.
    """

    name: str = "glue/sst2"
    text: str = "sentence"
    second: str = ""
    label: str = "label"
    train_split: str = "train"
    eval_split: str = "validation"

    def load(self) -> tuple[Labelled, Labelled, tuple[str, ...]]:
        """Return the texts of both splits.

        Raises:
            BadInput: the dataset is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        features = builder.info.features
        if missing := [name for name in (self.text, self.second, self.label) if name and name not in features]:
            raise BadInput(f"{self.name} has no feature {missing[0]!r}: it has {', '.join(sorted(features))}")
        names = getattr(features[self.label], "names", None)
        if names is None:
            raise BadInput(f"the feature {self.label!r} of {self.name} is no class label: name one with data.label")
        return self._split(builder, self.train_split), self._split(builder, self.eval_split), tuple(names)

    def signature(self) -> Hashable:
        """Return where the dataset lies and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str) -> Labelled:
        examples = list(read_examples(builder, self.name, split))
        texts = [example[self.text].decode() for example in examples]
        seconds = [example[self.second].decode() for example in examples] if self.second else []
        labels = np.array([example[self.label] for example in examples], np.int32)
        return Labelled(texts, seconds, labels, lambda row: f"example {row} of {self.name} {split}")


@dataclass(frozen=True, kw_only=True)
class _Files(Sentences):
    """What specs of files share: classes are those of the training file, sorted."""

    train_file: str
    eval_file: str

    def rows(self, path: Path) -> Iterator[Row]:
        """Yield the rows of a file."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return size and time of both files."""
        stats = [self._path(name).stat() for name in (self.train_file, self.eval_file) if self._path(name).is_file()]
        return tuple((status.st_size, status.st_mtime_ns) for status in stats)

    def _path(self, name: str) -> Path:
        return Path(name).expanduser()

    def load(self) -> tuple[Labelled, Labelled, tuple[str, ...]]:
        """Return the texts of both files.

        Raises:
            BadInput: a file that cannot be read, or a label of the evaluation file that the training file has not.
        """
        train, held = (self._read(self._path(name)) for name in (self.train_file, self.eval_file))
        names = tuple(sorted({row.label for row in train}))
        return self._labelled(self.train_file, train, names), self._labelled(self.eval_file, held, names), names

    def _read(self, path: Path) -> list[Row]:
        try:
            found = list(self.rows(path))
        except FileNotFoundError:
            raise BadInput(f"there is no file {path}: give one of labelled texts") from None
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is not {error.encoding} text (byte {error.start}): convert it") from None
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error}") from None
        if not found:
            raise BadInput(f"{path} has no texts: add some")
        return found

    def _labelled(self, name: str, rows: Sequence[Row], names: tuple[str, ...]) -> Labelled:
        path, numbers = self._path(name), {label: index for index, label in enumerate(names)}
        if unknown := [row for row in rows if row.label not in numbers]:
            raise BadInput(
                f"{path} line {unknown[0].line}: the label {unknown[0].label!r} is not among those of the training "
                f"file ({', '.join(names[:6])}{', ...' * (len(names) > 6)}): mend it"
            )
        seconds = [row.second for row in rows] if rows[0].second or any(row.second for row in rows) else []
        labels = np.array([numbers[row.label] for row in rows], np.int32)
        return Labelled([row.text for row in rows], seconds, labels, lambda row: f"{path} line {rows[row].line}")


@dataclass(frozen=True, kw_only=True)
class Trec(_Files):
    """Spec: questions with the kind of their answers, `COARSE:fine question` a line, in Latin-1.

    Source: Li and Roth 2002, Learning Question Classifiers.

    Attributes:
        folder: where the files are.
        train_file: questions for training.
        eval_file: questions for evaluation.
        fine: whether the classes are the 50 fine ones instead of the 6 coarse ones.
    """

    folder: str = "."
    train_file: str = "train_5500.label"
    eval_file: str = "TREC_10.label"
    fine: bool = False

    def _path(self, name: str) -> Path:
        return Path(self.folder).expanduser() / name

    def rows(self, path: Path) -> Iterator[Row]:
        """Yield the questions of a file."""
        for number, line in enumerate(path.read_text(encoding="latin-1").split("\n"), 1):
            label, _, text = line.partition(" ")
            coarse, colon, _ = label.partition(":")
            if not line.strip():
                continue
            if not colon:
                raise BadInput(f"{path} line {number}: no `COARSE:fine question` but {line[:40]!r}: mend it")
            yield Row(number, text, "", label if self.fine else coarse)


@dataclass(frozen=True, kw_only=True)
class SentenceFiles(_Files):
    """Spec: texts and labels in columns of .csv or .tsv files (the first line names them), or keys of .jsonl files.

    In a .csv a field may be quoted; in a .tsv a quotation mark is a sign like any other.

    Attributes:
        train_file: texts for training.
        eval_file: texts for evaluation.
        text: the column of the text.
        second: that of a second text, "" for none.
        label: the column of the label.
    """

    train_file: str = "train.csv"
    eval_file: str = "eval.csv"
    text: str = "text"
    second: str = ""
    label: str = "label"

    def rows(self, path: Path) -> Iterator[Row]:
        """Yield the rows of a file.

        Raises:
            BadInput: names the line that has not all columns.
        """
        for line, found in _records(path):
            wanted = (self.text, self.second, self.label) if self.second else (self.text, self.label)
            if missing := [name for name in wanted if found.get(name) is None]:
                has = ", ".join(str(name) for name in found if name is not None)
                raise BadInput(
                    f"{path} line {line}: no {missing[0]!r} there (it has {has}): mend it, or name the column"
                )
            yield Row(line, str(found[self.text]), str(found.get(self.second, "")), str(found[self.label]))


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line and what stands there, by column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _json_object(path, number, line)
        elif path.suffix in (".csv", ".tsv"):
            yield from _table(path, file)
        else:
            raise BadInput(f"{path} ends in none of .csv, .tsv and .jsonl: convert it to one of them")


def _table(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line of a table and what stands there, by column."""
    tabs = path.suffix == ".tsv"
    reader = csv.DictReader(
        file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL, strict=True
    )
    before = csv.field_size_limit(LONGEST)
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise BadInput(f"{path} line {reader.line_num}: {error}: mend it") from None
    finally:
        csv.field_size_limit(before)


def _json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{path} line {number} is not JSON ({error}): mend it") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path} line {number} is no JSON object: write one, {{...}}, a line")
    return found
