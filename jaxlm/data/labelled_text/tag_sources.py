"""Specs of sentences with tags from column files, such as those of CoNLL, and from TFDS by name."""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.data.labelled_text.tagged import Sentence, Tagged
from jaxlm.data.readers.text import BLANK, decode_text, is_blank, read_text, to_lines
from jaxlm.data.tfds import find_dataset, open_dataset, read_examples
from jaxlm.errors import BadInput

SPACES = re.compile(f"[{BLANK}]+")


@dataclass(frozen=True, kw_only=True)
class TagFiles(Tagged):
    """Spec: files with a word and its columns on each line, and an empty line after each sentence.

    The defaults are those of CoNLL-2003 in its IOB2 form (Tjong Kim Sang and De Meulder 2003): word, part of speech,
    chunk, entity; a line of -DOCSTART- separates documents.

    Attributes:
        folder: where the files are.
        train_file: sentences for training.
        eval_file: sentences for evaluation.
        word: the column of the word, from 0.
        tag: the column of the tag; -1 is the last one.
        comments: the beginning of lines that are left out; "" for none.
    """

    folder: str = "."
    train_file: str = "train.txt"
    eval_file: str = "valid.txt"
    word: int = 0
    tag: int = 3
    comments: str = ""

    def load(self) -> tuple[Sequence[Sentence], Sequence[Sentence]]:
        """Return the sentences of both files.

        Raises:
            BadInput: a file cannot be read, or a line has other columns; names the line.
        """
        return self._read(self._path(self.train_file)), self._read(self._path(self.eval_file))

    def signature(self) -> Hashable:
        """Return the size and time of both files."""
        paths = [self._path(name) for name in (self.train_file, self.eval_file)]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file())

    def _path(self, name: str) -> Path:
        return Path(self.folder).expanduser() / name

    def _read(self, path: Path) -> list[Sentence]:
        lines = to_lines(read_text(path))
        found = list(self._sentences(path, lines))
        if not found:
            raise BadInput(f"{path} has no sentences: add some")
        return found

    def _sentences(self, path: Path, lines: Sequence[str]) -> Iterator[Sentence]:
        words: list[tuple[int, str, str]] = []
        width = 0
        for number, line in enumerate([*lines, ""], 1):
            columns = _split(line)
            if is_blank(line) or columns[0] == "-DOCSTART-":
                if words:
                    yield _sentence(path, words)
                words = []
            elif not (self.comments and line.startswith(self.comments)):
                width = width or len(columns)
                words.append((number, *self._columns(f"{path} line {number}", columns, width, "\t" in line)))

    def _columns(self, where: str, columns: Sequence[str], width: int, tabs: bool) -> tuple[str, str]:
        """Return the word and the tag of a line.

        Raises:
            BadInput: the line has no word, no tag, or not the `width` columns of the first word. With `tabs` it may
                have other columns behind word and tag, since a space inside of a word does not shift these.
        """
        if not all(-len(columns) <= column < len(columns) for column in (self.word, self.tag)):
            raise BadInput(
                f"{where} has {len(columns)} columns, and the tag is column {self.tag} from 0: correct it, or set "
                "--data.word and --data.tag"
            )
        if len(columns) != width and (not tabs or self.tag < 0):
            raise BadInput(f"{where} has {len(columns)} columns and the first word {width}: correct it")
        if not columns[self.word] or not columns[self.tag]:
            raise BadInput(f"{where} has no word or no tag: correct it")
        return columns[self.word], columns[self.tag]


def _split(line: str) -> list[str]:
    """Return the columns of a line: between tabs where it has some, else between runs of white space."""
    return [part.strip(BLANK) for part in line.split("\t")] if "\t" in line else SPACES.split(line.strip(BLANK))


def _sentence(path: Path, words: Sequence[tuple[int, str, str]]) -> Sentence:
    numbers = [number for number, *_ in words]
    return Sentence(
        [word for _, word, _ in words], [tag for *_, tag in words], lambda place: f"{path} line {numbers[place]}"
    )


@dataclass(frozen=True, kw_only=True)
class TfdsTags(Tagged):
    """Spec: a TFDS dataset with a sequence of words and a sequence of their tags (read from where `TfdsText` says).

    Attributes:
        name: the dataset.
        words: the name of the feature of words.
        tags: that of the tags.
        train_split: the training split.
        eval_split: the evaluation split.
    """

    name: str = "conll2003"
    words: str = "tokens"
    tags: str = "ner"
    train_split: str = "train"
    eval_split: str = "dev"

    def load(self) -> tuple[Sequence[Sentence], Sequence[Sentence]]:
        """Return the sentences of both splits; those without words are left out.

        Raises:
            BadInput: the dataset is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        features = builder.info.features
        if missing := [name for name in (self.words, self.tags) if name not in features]:
            raise BadInput(f"{self.name} has no feature {missing[0]!r}: it has {', '.join(sorted(features))}")
        names = getattr(getattr(features[self.tags], "feature", None), "names", None)
        if names is None:
            raise BadInput(
                f"the feature {self.tags!r} of {self.name} is not a sequence of tags: name one with data.tags"
            )
        return self._split(builder, self.train_split, names), self._split(builder, self.eval_split, names)

    def signature(self) -> Hashable:
        """Return the folder of the dataset and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str, names: Sequence[str]) -> list[Sentence]:
        found = []
        for row, example in enumerate(read_examples(builder, self.name, split)):
            where = f"example {row} of {self.name} {split}"
            words = [decode_text(w, where) if isinstance(w, bytes) else str(w) for w in example[self.words]]
            tags = [names[tag] for tag in example[self.tags]]
            if words:
                found.append(Sentence(words, tags, lambda place, where=where: f"{where}, word {place}"))  # type: ignore[misc]
        return found
