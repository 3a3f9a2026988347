"""Text to token ids and back: the specs that stand in a config, and reading a tokenizer that a run has kept.

`Bytes`, `Characters`, `Words`, `BPE`, `WordPiece` and `Pretrained` are specs. Their `build` gives a tokenizer: a value
that is all in its JSON text, so that a run keeps it beside the weights and needs neither the corpus nor the tokenizer's
files.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxlm.data.tokenizer_library import BPETokenizer, PretrainedTokenizer
from jaxlm.data.tokenizer_plain import ByteTokenizer, CharacterTokenizer, WordTokenizer, count_words
from jaxlm.data.tokenizer_protocol import SEPARATOR, Special, Tokenizer
from jaxlm.errors import BadInput

AnyTokenizer = ByteTokenizer | CharacterTokenizer | WordTokenizer | BPETokenizer | PretrainedTokenizer

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
    "Tokenizer",
    "WordPiece",
    "WordTokenizer",
    "Words",
    "check_vocabulary",
    "load_tokenizer",
]


def load_tokenizer(text: str) -> AnyTokenizer:
    """Return the tokenizer that `to_json` wrote.

    Raises:
        BadInput: the text is none of these.
    """
    try:
        match json.loads(text):
            case {"kind": "bytes"}:
                return ByteTokenizer()
            case {"kind": "characters", "alphabet": str(alphabet)}:
                return CharacterTokenizer(alphabet)
            case {"kind": "words", "words": list(words), "lower": bool(lower)}:
                return WordTokenizer(tuple(words), lower)
            case {"kind": "bpe", "model": str(model)}:
                return BPETokenizer(model)
            case {"kind": "pretrained", "model": str(model), "special": dict(special)}:
                return PretrainedTokenizer(model, Special(**special))
    except json.JSONDecodeError as error:
        raise BadInput(f"the tokenizer is not JSON ({error}): take the file from the run again") from error
    raise BadInput(
        "the tokenizer is none of bytes, characters, words, bpe and pretrained: take the file from the run again"
    )


def check_vocabulary(tokenizer: Tokenizer, vocab: int) -> None:
    """Raise BadInput where a tokenizer has ids that a model's vocabulary, the rows of its embedding, has not."""
    if tokenizer.vocab > vocab:
        raise BadInput(
            f"the tokenizer has {tokenizer.vocab} tokens and the model's vocabulary {vocab}: "
            f"set it to {tokenizer.vocab} (or a multiple of 64 above), or take the tokenizer of the pretrained weights"
        )


@dataclass(frozen=True)
class Bytes:
    """Spec: UTF-8 bytes, 256 ids."""

    def build(self, training: Iterable[str]) -> ByteTokenizer:
        """Return the tokenizer; the text is not read."""
        del training
        return ByteTokenizer()


@dataclass(frozen=True)
class Characters:
    """Spec: the characters of the training text, sorted."""

    def build(self, training: Iterable[str]) -> CharacterTokenizer:
        """Return the tokenizer of the characters in these pieces of text."""
        alphabet: set[str] = set()
        for piece in training:
            alphabet.update(set(piece))
        return CharacterTokenizer("".join(sorted(alphabet)))


@dataclass(frozen=True)
class Words:
    """Spec: the commonest words of the training text; all others are one unknown word.

    Attributes:
        size: ids, with the two for padding and the unknown.
        lower: whether texts are lower-cased.
        minimum: how often a word must occur.
    """

    size: int = 20000
    lower: bool = True
    minimum: int = 1

    def build(self, training: Iterable[str]) -> WordTokenizer:
        """Return the tokenizer of the words in these pieces of text.

        Raises:
            BadInput: no word is left.
        """
        return count_words(training, self.size, self.lower, self.minimum)


@dataclass(frozen=True)
class BPE:
    """Spec: a `tokenizer.json`, as `scripts/train_tokenizer.py` writes it."""

    path: str = "tokenizer.json"

    def build(self, training: Iterable[str]) -> BPETokenizer:
        """Return the tokenizer of the file; the text is not read.

        Raises:
            BadInput: no such file, or not a byte-level BPE.
        """
        del training
        path = Path(self.path).expanduser()
        try:
            return BPETokenizer(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(
                f"no tokenizer at {path}: train one with `python scripts/train_tokenizer.py TEXT --out {path}`"
            ) from None
        except (OSError, UnicodeDecodeError, BadInput) as error:
            raise BadInput(f"{path}: {error}") from error


@dataclass(frozen=True)
class WordPiece:
    """Spec: pieces of the words of the training text, as BERT has them, with its special tokens.

    Attributes:
        size: ids, special tokens and single characters included.
        lower: whether texts are lower-cased and lose their accents.
    """

    size: int = 4096
    lower: bool = True

    def build(self, training: Iterable[str]) -> PretrainedTokenizer:
        """Return the tokenizer of these pieces of text.

        Raises:
            BadInput: no word in them, or more characters than `size` has room for.
        """
        from jaxlm.data.word_piece import train_word_piece

        return train_word_piece(training, self.size, self.lower)


@dataclass(frozen=True)
class Pretrained:
    """Spec: the tokenizer of a pretrained model.

    Attributes:
        path: the model's folder, or a file of it: tokenizer.json (BPE, WordPiece, Unigram), GPT-2's vocab.json with
            merges.txt beside it, BERT's vocab.txt, or the pieces and scores of a SentencePiece BPE.
        lower: whether texts are lower-cased; for a vocab.txt alone, and None is what the tokenizer_config.json beside
            it tells.
    """

    path: str
    lower: bool | None = None

    def build(self, training: Iterable[str]) -> PretrainedTokenizer:
        """Return the tokenizer of these files; the text is not read.

        Raises:
            BadInput: no such files, or files that cannot be read.
        """
        from jaxlm.data.tokenizer_files import read_tokenizer

        del training
        return read_tokenizer(Path(self.path).expanduser(), self.lower)
