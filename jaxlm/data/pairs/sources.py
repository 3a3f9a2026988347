"""Specs of pairs of texts: parallel files, columns of tables, and TFDS."""

import gzip
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.data.pairs.pairs import Pairs
from jaxlm.data.pairs.rows import TextPairs
from jaxlm.data.readers.records import read_records, to_text
from jaxlm.data.readers.text import decode_text, read_bytes, to_lines
from jaxlm.data.tfds import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class ParallelText(Pairs):
    """Spec: two files for each split, line by line the same text in two languages; a name that ends in .gz is unpacked.

    Attributes:
        folder: where the files are.
        train_source: for training.
        train_target: for training.
        eval_source: for evaluation.
        eval_target: for evaluation.
    """

    folder: str = "."
    train_source: str = "train.en"
    train_target: str = "train.de"
    eval_source: str = "val.en"
    eval_target: str = "val.de"

    def load(self) -> tuple[TextPairs, TextPairs]:
        """Return the pairs of both splits.

        Raises:
            BadInput: a file cannot be read, or the two of a split have different numbers of lines.
        """
        return self._split(self.train_source, self.train_target), self._split(self.eval_source, self.eval_target)

    def signature(self) -> Hashable:
        """Return the sizes and times of the files."""
        names = (self.train_source, self.train_target, self.eval_source, self.eval_target)
        return stats([self._path(name) for name in names])

    def _path(self, name: str) -> Path:
        return Path(self.folder).expanduser() / name

    def _split(self, source: str, target: str) -> TextPairs:
        paths = self._path(source), self._path(target)
        sources, targets = map(read_parallel_lines, paths)
        if len(sources) != len(targets):
            raise BadInput(
                f"{paths[0]} has {len(sources)} lines and {paths[1]} {len(targets)}: line n of both is one pair"
            )
        return TextPairs(sources, targets, lambda row: f"{paths[0]} line {row + 1}")


@dataclass(frozen=True, kw_only=True)
class PairFiles(Pairs):
    """Spec: two columns of .csv or .tsv files (the first line names them), or two keys of .jsonl files.

    Attributes:
        train_file: pairs for training.
        eval_file: pairs for evaluation.
        source: the column of the source.
        target: the column of the target.
    """

    train_file: str = "train.tsv"
    eval_file: str = "eval.tsv"
    source: str = "source"
    target: str = "target"

    def load(self) -> tuple[TextPairs, TextPairs]:
        """Return the pairs of both files.

        Raises:
            BadInput: a file cannot be read, or a line lacks a column.
        """
        return self._split(self.train_file), self._split(self.eval_file)

    def signature(self) -> Hashable:
        """Return the sizes and times of the files."""
        return stats([Path(name).expanduser() for name in (self.train_file, self.eval_file)])

    def _split(self, name: str) -> TextPairs:
        path, lines, columns = Path(name).expanduser(), [], ([], [])  # type: ignore[var-annotated]
        for line, record in read_records(path):
            for column, texts in zip((self.source, self.target), columns, strict=True):
                if record.get(column) is None:
                    has = ", ".join(record)
                    raise BadInput(f"{path} line {line}: no {column!r} there (it has {has}): name the column")
                texts.append(to_text(record[column], f"{path} line {line}", column))
            lines.append(line)
        return TextPairs(*columns, lambda row: f"{path} line {lines[row]}")


@dataclass(frozen=True, kw_only=True)
class TfdsPairs(Pairs):
    """Spec: two text features of a TFDS dataset (see `TfdsText` for where it is read from).

    Attributes:
        name: the dataset, with its configuration where it has one.
        source: the name of the feature of the source.
        target: that of the target.
        train_split: the training split.
        eval_split: the evaluation split.
    """

    name: str = "aeslc"
    source: str = "email_body"
    target: str = "subject_line"
    train_split: str = "train"
    eval_split: str = "validation"

    def load(self) -> tuple[TextPairs, TextPairs]:
        """Return the pairs of both splits.

        Raises:
            BadInput: the dataset is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        features = builder.info.features
        if missing := [name for name in (self.source, self.target) if name not in features]:
            raise BadInput(f"{self.name} has no feature {missing[0]!r}: it has {', '.join(sorted(features))}")
        return self._split(builder, self.train_split), self._split(builder, self.eval_split)

    def signature(self) -> Hashable:
        """Return the folder of the dataset and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str) -> TextPairs:
        examples = list(read_examples(builder, self.name, split))

        def where(row: int) -> str:
            return f"example {row} of {self.name} {split}"

        def column(name: str) -> list[str]:
            return [decode_text(example[name], where(row)) for row, example in enumerate(examples)]

        return TextPairs(column(self.source), column(self.target), where)


def read_parallel_lines(path: Path) -> list[str]:
    """Return the lines of a text file, unpacked where its name ends in .gz.

    Raises:
        BadInput: it cannot be read.
    """
    content = read_bytes(path)
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{path} cannot be unpacked ({error}): get the file again") from None
    return to_lines(decode_text(content, str(path)))


def stats(paths: Sequence[Path]) -> Hashable:
    """Return the sizes and times of those files that are there."""
    found = [path.stat() for path in paths if path.is_file()]
    return tuple((status.st_size, status.st_mtime_ns) for status in found)
