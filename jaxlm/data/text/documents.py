"""Read documents of text one at a time, from files, folders, or the source of the standard library."""

import codecs
import os
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxlm.data.readers.text import not_text
from jaxlm.errors import BadInput

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".py")
PIECE = 1 << 22

# Tests of the standard library hold odd encodings and generated tables; site-packages is other people's code.
_NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})


@dataclass(frozen=True)
class Document:
    """A text that is read when it is needed.

    Attributes:
        name: for messages, such as the path.
        read: returns the UTF-8 bytes, uint8 [bytes], in memory or memory-mapped.
    """

    name: str
    read: Callable[[], np.ndarray]

    def check(self) -> None:
        """Raise BadInput where the text is not UTF-8."""
        for _ in self.pieces():
            pass

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of at most four megabytes, which end after a line where possible.

        Raises:
            BadInput: the text is not UTF-8; names document and line.
        """
        content, start = self.read(), 0
        while start < len(content):
            stop = _cut(content, start + PIECE)
            try:
                yield content[start:stop].tobytes().decode("utf-8")
            except UnicodeDecodeError as error:
                raise not_text(content, self.name, start + error.start) from None
            start = stop


def _cut(content: np.ndarray, stop: int) -> int:
    """Return where to cut at or before `stop`: after a line, else before a character."""
    if stop >= len(content):
        return len(content)
    lines = np.flatnonzero(content[stop - PIECE // 4 : stop] == ord("\n"))
    return stop - PIECE // 4 + int(lines[-1]) + 1 if lines.size else character_boundary(content, stop)


def character_boundary(content: np.ndarray, place: int) -> int:
    """Return the last position at or before this one where a UTF-8 character begins, or the text ends."""
    if place >= len(content):
        return len(content)
    backs = (back for back in range(min(4, place + 1)) if content[place - back] & 0xC0 != 0x80)
    return place - next(backs, 0)


def map_file(path: Path) -> np.ndarray:
    """Return the UTF-8 bytes of a text file by the rules of `jaxlm.data.readers.text`; uint8 [bytes].

    They are memory-mapped, except where lines end in a carriage return.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        content = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): give a file") from None
    if content[:3].tobytes() == codecs.BOM_UTF8:
        content = content[3:]
    if any((content[start : start + PIECE] == ord("\r")).any() for start in range(0, len(content), PIECE)):
        content = np.frombuffer(content.tobytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n"), np.uint8)
    return content


def part(path: Path, start: int, stop: int) -> np.ndarray:
    """Return some of the bytes of `map_file`; uint8 [stop - start]."""
    return map_file(path)[start:stop]


def find_files(path: str | None) -> tuple[Path, list[Path]]:
    """Find text files.

    Args:
        path: a file; a folder, of which files below that end in one of `TEXT_SUFFIXES` are taken, without those that
            begin with a dot; or None, the standard library of this Python (`*.py`, without tests and site-packages).

    Returns:
        The folder, and the files sorted by their path below it.

    Raises:
        BadInput: nothing at the path, or no text files in it.
    """
    root = Path(sysconfig.get_path("stdlib") if path is None else path).expanduser()
    if root.is_file():
        return root.parent, [root]
    if not root.is_dir():
        raise BadInput(f"no text at {root}: give a file or a folder (or none, for the standard library's source)")
    accept = _is_library if path is None else _is_text
    files = [found for found in map(Path, _walk(root)) if accept(found.relative_to(root))]
    if not files:
        raise BadInput(f"no text files in {root}: they end in {', '.join(TEXT_SUFFIXES)}")
    return root, sorted(files, key=lambda found: found.relative_to(root).as_posix())


def _walk(root: Path) -> Iterator[str]:
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "site-packages"]
        yield from (os.path.join(folder, name) for name in names)


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in TEXT_SUFFIXES and not path.name.startswith(".")


def _is_library(path: Path) -> bool:
    return path.suffix == ".py" and not _NOT_LIBRARY.intersection(path.parts)


def split_files(path: str | None, share: float) -> tuple[list[Document], list[Document]]:
    """Split text files into training and evaluation documents.

    Of several files every n-th is for evaluation, n = 1 / share rounded (the last one where there are fewer than n).
    Of a single file it is the tail, cut before a character.

    Args:
        path: see `find_files`.
        share: the fraction for evaluation, 0 to 0.5.

    Raises:
        BadInput: nothing at the path, no text files in it, or an empty file.
    """
    root, files = find_files(path)
    if not 0 <= share <= 0.5:
        raise BadInput(f"an evaluation share of {share}: give a number from 0 to 0.5")
    if len(files) == 1:
        return _split_file(files[0], share)
    every = min(round(1 / share), len(files)) if share else len(files) + 1
    documents = [Document(str(file.relative_to(root)), partial(map_file, file)) for file in files]
    evaluation = documents[every - 1 :: every]
    return [document for number, document in enumerate(documents, 1) if number % every], evaluation


def _split_file(path: Path, share: float) -> tuple[list[Document], list[Document]]:
    content = map_file(path)
    if not len(content):
        raise BadInput(f"{path} is empty: give a file with text in it")
    cut = character_boundary(content, round(len(content) * (1 - share)))
    if not 0 < cut < len(content) + (not share):
        raise BadInput(
            f"{path} has {len(content)} bytes, too few to split off {share:g} of them for evaluation: give more text, "
            "raise data.eval_fraction, or set it to 0"
        )
    head = Document(str(path), partial(part, path, 0, cut))
    return [head], [Document(f"the tail of {path}", partial(part, path, cut, len(content)))] if share else []
