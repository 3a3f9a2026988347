"""Specs of tokenizers for configs, and reading the tokenizer that a run keeps.

`Bytes`, `Characters`, `Words`, `Symbols`, `BPE`, `Subwords`, `WordPiece` and `Pretrained` are specs. Their `build`
gives a tokenizer, which is a value with a JSON form: a run keeps it with the weights, and needs neither the corpus nor
the tokenizer's files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.readers.text import read_text
from jaxlm.data.tokenizers.library import BPETokenizer, PretrainedTokenizer
from jaxlm.data.tokenizers.plain import (
    ByteTokenizer,
    CharacterTokenizer,
    SymbolTokenizer,
    WordTokenizer,
    count_words,
    split_symbols,
)
from jaxlm.data.tokenizers.protocol import SEPARATOR, Special, Tokenizer
from jaxlm.errors import BadInput

AnyTokenizer = ByteTokenizer | CharacterTokenizer | WordTokenizer | SymbolTokenizer | BPETokenizer | PretrainedTokenizer

__all__ = [
    "BPE",
    "SEPARATOR",
    "AnyTokenizer",
    "BPETokenizer",
    "ByteTokenizer",
    "Bytes",
    "CharacterTokenizer",
    "Characters",
    "Pretrained",
    "PretrainedTokenizer",
    "Subwords",
    "SymbolTokenizer",
    "Symbols",
    "Tokenizer",
    "WordPiece",
    "WordTokenizer",
    "Words",
    "load_tokenizer",
]


def load_tokenizer(text: str) -> AnyTokenizer:
    """Read the tokenizer that `to_json` wrote.

    Raises:
        BadInput: the text does not describe a tokenizer.
    """
    match parse_json(text, "the tokenizer of the run"):
        case {"kind": "bytes"}:
            return ByteTokenizer()
        case {"kind": "characters", "alphabet": str(alphabet)}:
            return CharacterTokenizer(alphabet)
        case {"kind": "words", "words": list(words), "lower": bool(lower)} if all(map(_is_text, words)):
            return WordTokenizer(tuple(words), lower)
        case {"kind": "symbols", "symbols": list(symbols)} if all(map(_is_text, symbols)):
            return SymbolTokenizer(tuple(symbols))
        case {"kind": "bpe", "model": str(model)}:
            return BPETokenizer(model)
        case {"kind": "pretrained", "model": str(model), "special": dict(special)} if _are_roles(special):
            return PretrainedTokenizer(model, Special(**special))
    raise BadInput(
        "the tokenizer is not one of bytes, characters, words, symbols, bpe and pretrained: take the file from the run "
        "again"
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_roles(special: dict[str, object]) -> bool:
    known = {field.name for field in fields(Special)}
    return special.keys() <= known and all(index is None or type(index) is int for index in special.values())


@dataclass(frozen=True)
class Bytes:
    """Spec: UTF-8 bytes; 256 ids."""

    def build(self, training: Iterable[str]) -> ByteTokenizer:
        """Return the tokenizer; the text is not needed."""
        del training
        return ByteTokenizer()


@dataclass(frozen=True)
class Characters:
    """Spec: the characters of the training text, sorted."""

    def build(self, training: Iterable[str]) -> CharacterTokenizer:
        """Build the tokenizer of the characters in these pieces of text."""
        alphabet: set[str] = set()
        for piece in training:
            alphabet.update(set(piece))
        return CharacterTokenizer("".join(sorted(alphabet)))


@dataclass(frozen=True)
class Words:
    """Spec: the most frequent words of the training text; all others are one unknown word.

    Attributes:
        size: the largest number of ids, the two for padding and the unknown word included.
        lower: whether texts are lower-cased.
        minimum: how often a word must occur.
    """

    size: int = 20000
    lower: bool = True
    minimum: int = 1

    def build(self, training: Iterable[str]) -> WordTokenizer:
        """Build the tokenizer of the words in these pieces of text.

        Raises:
            BadInput: no word occurs often enough.
        """
        return count_words(training, self.size, self.lower, self.minimum)


@dataclass(frozen=True)
class Symbols:
    """Spec: symbols with white space between them, all those of the training text; made for letters, phones, notes."""

    def build(self, training: Iterable[str]) -> SymbolTokenizer:
        """Build the tokenizer of the symbols in these texts."""
        return SymbolTokenizer(tuple(sorted({symbol for text in training for symbol in split_symbols(text)})))


@dataclass(frozen=True)
class BPE:
    """Spec: a `tokenizer.json`, as `scripts/train_tokenizer.py` writes it, or that of a run with such a tokenizer."""

    path: str = "tokenizer.json"

    def build(self, training: Iterable[str]) -> BPETokenizer:
        """Read the tokenizer of the file; the text is not needed.

        Raises:
            BadInput: no such file, or not a byte-level BPE.
        """
        del training
        path = Path(self.path).expanduser()
        if not path.exists():
            raise BadInput(
                f"no tokenizer at {path}: train one with `python scripts/train_tokenizer.py TEXT --out {path}`"
            )
        text = read_text(path)
        match parse_json(text, str(path)):
            case {"kind": "bpe", "model": str(kept)}:
                text = kept
        try:
            return BPETokenizer(text)
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from error


@dataclass(frozen=True)
class Subwords:
    """Spec: a byte-level BPE trained on the training text; "<|endoftext|>" ends a text, and every text is restored.

    Attributes:
        size: number of ids at most, 256 bytes, the end token and the sentinels included.
        sentinels: special tokens that stand for spans of a text ("<extra_id_0>" has the last id), which span corruption
            needs; T5 has 100.
    """

    size: int = 8000
    sentinels: int = 0

    def build(self, training: Iterable[str]) -> BPETokenizer:
        """Train the tokenizer on these pieces of text.

        Raises:
            BadInput: `size` is below 257 without the sentinels.
        """
        from jaxlm.data.tokenizers.byte_pairs import train_byte_pairs

        return BPETokenizer(train_byte_pairs(training, self.size, self.sentinels))


@dataclass(frozen=True)
class WordPiece:
    """Spec: a WordPiece vocabulary trained on the training text, with the special tokens of BERT.

    Attributes:
        size: number of ids, special tokens and single characters included.
        lower: whether texts are lower-cased and lose their accents.
    """

    size: int = 4096
    lower: bool = True

    def build(self, training: Iterable[str]) -> PretrainedTokenizer:
        """Train the tokenizer on these pieces of text.

        Raises:
            BadInput: the text has no word, or more characters than `size` allows.
        """
        from jaxlm.data.tokenizers.word_piece import train_word_piece

        return train_word_piece(training, self.size, self.lower)


@dataclass(frozen=True)
class Pretrained:
    """Spec: the tokenizer of a pretrained model.

    Attributes:
        path: the folder of the model, or a file of it: tokenizer.json (BPE, WordPiece, Unigram), vocab.json with a
            merges.txt in the same folder (GPT-2), vocab.txt (BERT), or the pieces and scores of a SentencePiece BPE.
        lower: whether texts are lower-cased, for a vocab.txt alone; None: as the tokenizer_config.json in its folder
            says.
    """

    path: str
    lower: bool | None = None

    def build(self, training: Iterable[str]) -> PretrainedTokenizer:
        """Read the tokenizer of these files; the text is not needed.

        Raises:
            BadInput: no such files, or files that cannot be read.
        """
        from jaxlm.data.tokenizers.files import read_tokenizer

        del training
        return read_tokenizer(Path(self.path).expanduser(), self.lower)
