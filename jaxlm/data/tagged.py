"""Sentences whose words have tags, such as those of named entities: column files, and TFDS by name.

B batch, T places. Batches hold "tokens" and "segments" int32 [B, T] (segments are 1, and 0 on padding), and "targets"
int32 and "mask" float32 [B, T]: the tag of each word stands at its first piece, where the mask is 1.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxlm.data.ragged import check_widths, ragged
from jaxlm.data.tags import Entity, Scheme, entities, tag_names, to_tags
from jaxlm.data.tfds_text import find_dataset, open_dataset, read_examples
from jaxlm.data.token_rows import Loaded, Part, TokenRows
from jaxlm.data.tokenizers import AnyTokenizer
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Sentence:
    """Words and their tags.

    Attributes:
        words: the words.
        tags: a tag for each.
        where: place of a word -> what to call it in a message, such as a file and a line.
    """

    words: Sequence[str]
    tags: Sequence[str]
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Tagged(TokenRows):
    """Spec: sentences whose words have tags; a word whose first piece is cut off is not predicted, and counted.

    Attributes:
        given: the scheme of the data, see `jaxlm.data.tags`.
        scheme: the scheme that a model learns.
        types: the types of entities; what the data mark beside them is outside, and counted. Empty: all that occur in
            the training data.
    """

    types: tuple[str, ...] = ()
    given: Scheme = "BIO"
    scheme: Literal["BIO", "BIOES"] = "BIO"

    def load(self) -> tuple[Sequence[Sentence], Sequence[Sentence]]:
        """Return the sentences for training and for evaluation."""
        raise NotImplementedError

    def loaded(self) -> Loaded:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: sentences that cannot be read, or a tag that is none or stands where it cannot.
        """
        check_widths(self.widths)
        return _load(dataclasses.replace(self, batch=1, eval_batch=None, widths=self.widths[-1:]), self.signature())


@lru_cache(maxsize=4)
def _load(spec: Tagged, signature: Hashable) -> Loaded:
    """Return the sentences of a spec, tokenised once a process."""
    del signature
    splits = spec.load()
    found = [[read_entities(sentence, spec.given) for sentence in split] for split in splits]
    types = sorted(spec.types or {kind for sentence in found[0] for kind, *_ in sentence})
    if not any(entity[0] in types for sentence in found[0] for entity in sentence):
        raise BadInput(
            f"{splits[0][0].where(0)}: no word of the training data is in an entity: check columns and types"
        )
    for sentence, marked in zip(splits[1], found[1], strict=True):
        if not spec.types and (unknown := [entity for entity in marked if entity[0] not in types]):
            raise BadInput(
                f"{sentence.where(unknown[0][1])}: the type {unknown[0][0]!r} does not occur in the training data "
                f"({', '.join(types)}): mend it"
            )
    names = tag_names(types, spec.scheme)
    tokenizer = spec.tokenizer.build(" ".join(sentence.words) for sentence in splits[0])
    train, held = (to_rows(spec, tokenizer, names, *both) for both in zip(splits, found, strict=True))
    return Loaded(train, held, names, tokenizer)


def read_entities(sentence: Sentence, scheme: Scheme) -> list[Entity]:
    """Return the entities of a sentence.

    Raises:
        BadInput: names the place of a tag that is none or stands where it cannot.
    """
    try:
        return entities(sentence.tags, scheme)
    except ValueError as error:
        place, reason = error.args
        where = sentence.where(min(place, len(sentence.tags) - 1))
        raise BadInput(f"{where}: {reason}: mend it, or set --data.given to the scheme of the file") from None


def to_rows(
    spec: Tagged,
    tokenizer: AnyTokenizer,
    names: tuple[str, ...],
    sentences: Sequence[Sentence],
    found: Sequence[Sequence[Entity]],
) -> Part:
    """Return sentences as rows of at most the largest width. A word of no piece becomes the unknown token.

    Raises:
        BadInput: a width that leaves no place for words.
    """
    frame, numbers = tokenizer.frame(), {name: number for number, name in enumerate(names)}
    space = spec.widths[-1] - len(frame)
    if space < 1:
        raise BadInput(f"data.widths reach {spec.widths[-1]}, which special tokens fill: raise the last one")
    rows: dict[str, list[np.ndarray]] = {"tokens": [], "targets": [], "mask": []}
    words, lost, unknown, marks, others = 0, 0, 0, 0, 0
    pieces = tokenizer.encode_words([sentence.words for sentence in sentences])
    for sentence, marked, (ids, owners) in zip(sentences, found, pieces, strict=True):
        length = len(sentence.words)
        known = [entity for entity in marked if f"B-{entity[0]}" in numbers]
        tags = np.array([numbers[tag] for tag in to_tags(known, length, spec.scheme)], np.int32)
        if bare := sorted({*range(length)} - {*owners.tolist()}):
            places = np.searchsorted(owners, bare)
            ids, owners = np.insert(ids, places, tokenizer.special.unk or 0), np.insert(owners, places, bare)
        first = np.diff(owners, prepend=-1) > 0
        ends = len(frame.before), len(frame.after)
        kept = slice(None, space)
        rows["tokens"].append(np.concatenate([frame.before, ids[kept], frame.after]).astype(np.int32))
        rows["targets"].append(np.pad(np.where(first, tags[owners], 0)[kept], ends).astype(np.int32))
        rows["mask"].append(np.pad(first[kept], ends).astype(np.float32))
        words, lost, unknown = words + length, lost + int(first[space:].sum()), unknown + len(bare)
        marks, others = marks + len(known), others + len(marked) - len(known)
    counts = {
        "sentences": len(sentences),
        "words": words,
        "entities": marks,
        "entities of other types": others,
        "tokens": sum(map(len, rows["tokens"])),
        f"words past {spec.widths[-1]} tokens cut off": lost,
        "words without a piece": unknown,
    }
    return Part(ragged(rows, {}), counts)


@dataclass(frozen=True, kw_only=True)
class TagFiles(Tagged):
    """Spec: files of one word a line with columns beside it, and an empty line after each sentence.

    The defaults are those of CoNLL-2003 in its IOB2 form (Tjong Kim Sang and De Meulder 2003): word, part of speech,
    chunk, entity; lines of -DOCSTART- part documents.

    Attributes:
        folder: where the files are.
        train_file: sentences for training.
        eval_file: sentences for evaluation.
        word: the column of the word, from 0.
        tag: the column of the tag; -1 is the last one.
        comments: what lines begin with that are left out; "" for none.
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
            BadInput: a file that cannot be read, or a line with other columns; names the line.
        """
        return self._read(self._path(self.train_file)), self._read(self._path(self.eval_file))

    def signature(self) -> Hashable:
        """Return size and time of both files."""
        paths = [self._path(name) for name in (self.train_file, self.eval_file)]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file())

    def _path(self, name: str) -> Path:
        return Path(self.folder).expanduser() / name

    def _read(self, path: Path) -> list[Sentence]:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise BadInput(f"there is no file {path}: give one of a word and its tag a line") from None
        except UnicodeDecodeError as error:
            raise BadInput(f"{path} is not UTF-8 text (byte {error.start}): convert it, such as with iconv") from None
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error}") from None
        found = list(self._sentences(path, lines))
        if not found:
            raise BadInput(f"{path} has no sentences: add some")
        return found

    def _sentences(self, path: Path, lines: Sequence[str]) -> Iterator[Sentence]:
        words: list[tuple[int, str, str]] = []
        width = 0
        for number, line in enumerate([*lines, ""], 1):
            line = line.rstrip("\r")
            columns = line.split("\t") if "\t" in line else line.split()
            if not columns or columns[0] == "-DOCSTART-":
                if words:
                    yield _sentence(path, words)
                words = []
            elif not (self.comments and line.startswith(self.comments)):
                width = width or len(columns)
                words.append((number, *self._columns(f"{path} line {number}", columns, width, "\t" in line)))

    def _columns(self, where: str, columns: Sequence[str], width: int, tabs: bool) -> tuple[str, str]:
        """Return word and tag of a line.

        Raises:
            BadInput: names the line that has no word or no tag, or not the columns of the first word. Where tabs part
                them there may be others past word and tag, since a space in a word moves none.
        """
        if len(columns) <= max(self.word, self.tag):
            raise BadInput(
                f"{where} has {len(columns)} columns, and the tag is column {self.tag} from 0: mend it, or set "
                "--data.word and --data.tag"
            )
        if len(columns) != width and (not tabs or self.tag < 0):
            raise BadInput(f"{where} has {len(columns)} columns and the first word {width}: mend it")
        if not columns[self.word].strip() or not columns[self.tag].strip():
            raise BadInput(f"{where} has no word or no tag: mend it")
        return columns[self.word], columns[self.tag]


def _sentence(path: Path, words: Sequence[tuple[int, str, str]]) -> Sentence:
    numbers = [number for number, *_ in words]
    return Sentence(
        [word for _, word, _ in words], [tag for *_, tag in words], lambda place: f"{path} line {numbers[place]}"
    )


@dataclass(frozen=True, kw_only=True)
class TfdsTags(Tagged):
    """Spec: a TFDS dataset with a sequence of words and one of their tags (see `TfdsText` for where it is read from).

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
        """Return the sentences of both splits; those of no word are left out.

        Raises:
            BadInput: the dataset is not prepared, or has no such feature or split.
        """
        builder = open_dataset(self.name)
        features = builder.info.features
        if missing := [name for name in (self.words, self.tags) if name not in features]:
            raise BadInput(f"{self.name} has no feature {missing[0]!r}: it has {', '.join(sorted(features))}")
        names = getattr(getattr(features[self.tags], "feature", None), "names", None)
        if names is None:
            raise BadInput(f"the feature {self.tags!r} of {self.name} is no sequence of tags: name one with data.tags")
        return self._split(builder, self.train_split, names), self._split(builder, self.eval_split, names)

    def signature(self) -> Hashable:
        """Return where the dataset lies and when it was prepared."""
        folder = find_dataset(self.name)
        return str(folder), (folder / "dataset_info.json").stat().st_mtime_ns

    def _split(self, builder: Any, split: str, names: Sequence[str]) -> list[Sentence]:
        found = []
        for row, example in enumerate(read_examples(builder, self.name, split)):
            words = [word.decode() if isinstance(word, bytes) else str(word) for word in example[self.words]]
            tags = [names[tag] for tag in example[self.tags]]
            where = f"example {row} of {self.name} {split}"
            if words:
                found.append(Sentence(words, tags, lambda place, where=where: f"{where}, word {place}"))  # type: ignore[misc]
        return found
