"""Specs of labelled texts from TFDS by name, from the question sets of TREC, and from CSV, TSV and JSON lines files."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlm.data.labelled_text.sentences import LabelledTexts, Sentences
from jaxlm.data.readers.records import read_records, to_text
from jaxlm.data.readers.text import BLANK, decode_text, is_blank, read_text, to_lines
from jaxlm.data.tfds import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput


class LabelledLine(NamedTuple):
    """A text of a file.

    Attributes:
        line: the number of its line.
        text: the text.
        second: the second text of a pair, "" where there is none.
        label: the name of its class.
    """

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

    def load(self) -> tuple[LabelledTexts, LabelledTexts, tuple[str, ...]]:
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
            raise BadInput(f"the feature {self.label!r} of {self.name} is not a class label: name one with data.label")
        return self._split(builder, self.train_split), self._split(builder, self.eval_split), tuple(names)

    def signature(self) -> Hashable:
        """Return the folder of the dataset and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str) -> LabelledTexts:
        examples = list(read_examples(builder, self.name, split))

        def where(row: int) -> str:
            return f"example {row} of {self.name} {split}"

        def column(name: str) -> list[str]:
            return [decode_text(example[name], where(row)) for row, example in enumerate(examples)]

        labels = np.array([example[self.label] for example in examples], np.int32)
        return LabelledTexts(column(self.text), column(self.second) if self.second else [], labels, where)


@dataclass(frozen=True, kw_only=True)
class _Files(Sentences):
    """Spec: what the specs of files share. The classes are the labels of the training file, sorted (`sort_labels`)."""

    train_file: str
    eval_file: str

    def rows(self, path: Path) -> Iterator[LabelledLine]:
        """Yield the rows of a file."""
        raise NotImplementedError

    def signature(self) -> Hashable:
        """Return the size and time of both files."""
        stats = [self._path(name).stat() for name in (self.train_file, self.eval_file) if self._path(name).is_file()]
        return tuple((status.st_size, status.st_mtime_ns) for status in stats)

    def _path(self, name: str) -> Path:
        return Path(name).expanduser()

    def load(self) -> tuple[LabelledTexts, LabelledTexts, tuple[str, ...]]:
        """Return the texts of both files.

        Raises:
            BadInput: a file cannot be read, or the evaluation file has a label that the training file does not have.
        """
        train, evaluation = (self._read(self._path(name)) for name in (self.train_file, self.eval_file))
        names = sort_labels({row.label for row in train})
        return self._labelled(self.train_file, train, names), self._labelled(self.eval_file, evaluation, names), names

    def _read(self, path: Path) -> list[LabelledLine]:
        found = list(self.rows(path))
        if not found:
            raise BadInput(f"{path} has no texts: add some")
        return found

    def _labelled(self, name: str, rows: Sequence[LabelledLine], names: tuple[str, ...]) -> LabelledTexts:
        path, numbers = self._path(name), {label: index for index, label in enumerate(names)}
        if unknown := [row for row in rows if row.label not in numbers]:
            raise BadInput(
                f"{path} line {unknown[0].line}: the label {unknown[0].label!r} is not among those of the training "
                f"file ({', '.join(names[:6])}{', ...' * (len(names) > 6)}): correct it"
            )
        seconds = [row.second for row in rows] if rows[0].second or any(row.second for row in rows) else []
        labels = np.array([numbers[row.label] for row in rows], np.int32)
        return LabelledTexts([row.text for row in rows], seconds, labels, lambda row: f"{path} line {rows[row].line}")


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

    def rows(self, path: Path) -> Iterator[LabelledLine]:
        """Yield the questions of a file."""
        for number, line in enumerate(to_lines(read_text(path, "latin-1")), 1):
            label, _, text = line.partition(" ")
            coarse, colon, _ = label.partition(":")
            if is_blank(line):
                continue
            if not colon:
                raise BadInput(f"{path} line {number}: no `COARSE:fine question` but {line[:40]!r}: correct it")
            yield LabelledLine(number, text, "", label if self.fine else coarse)


@dataclass(frozen=True, kw_only=True)
class SentenceFiles(_Files):
    """Spec: texts and labels in columns of .csv or .tsv files (the first line names them), or keys of .jsonl files.

    How files are read is in `jaxlm.data.readers`. White space around a label is not part of it.

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

    def rows(self, path: Path) -> Iterator[LabelledLine]:
        """Yield the rows of a file.

        Raises:
            BadInput: a line lacks a column; names the line.
        """
        columns = (self.text, self.second, self.label) if self.second else (self.text, self.label)
        for line, found in read_records(path):
            place = f"{path} line {line}"
            if missing := [name for name in columns if found.get(name) is None]:
                raise BadInput(
                    f"{place}: no {missing[0]!r} there (it has {', '.join(found)}): correct it, or name the column"
                )
            text, *second, label = (to_text(found[name], place, name) for name in columns)
            if is_blank(label):
                raise BadInput(f"{place}: {self.label!r} is empty: give a label, or leave the line out")
            yield LabelledLine(line, text, "".join(second), label.strip(BLANK))


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Return labels in the order of their numbers where all are whole numbers, else in that of their characters."""
    numbers = all(label.isdecimal() and label.isascii() for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if numbers else 0, label)))
