"""Clean texts before they are tokenised: operations that a config chooses, whose changes are counted."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Clean:
    """Spec: operations on texts, in this order. Lower-casing is part of the tokenizer.

    Attributes:
        unicode: a normal form of Unicode, "" for none; NFKC also replaces compatibility characters, such as ligatures.
        spaces: whether every run of white space becomes one space.
        strip: whether white space at both ends is removed.
    """

    unicode: Literal["", "NFC", "NFD", "NFKC", "NFKD"] = ""
    spaces: bool = False
    strip: bool = False

    def __call__(self, texts: Sequence[str]) -> tuple[list[str], dict[str, int]]:
        """Return the texts after the operations, and the number of texts that each operation changed."""
        changed, done = {}, list(texts)
        for name, operation in self._operations().items():
            after = [operation(text) for text in done]
            changed[name] = sum(old != new for old, new in zip(done, after, strict=True))
            done = after
        return done, changed

    def _operations(self) -> dict[str, Callable[[str], str]]:
        found: dict[str, Callable[[str], str]] = {}
        if self.unicode:
            form = self.unicode
            found["unicode"] = lambda text: unicodedata.normalize(form, text)
        if self.spaces:
            found["spaces"] = one_space
        if self.strip:
            found["strip"] = str.strip
        return found


def one_space(text: str) -> str:
    """Replace every run of white space by one space, at both ends too."""
    return SPACES.sub(" ", text)
