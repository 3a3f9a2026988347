r"""Read text files. Every reader of texts goes by the rules below.

encoding      UTF-8; a byte order mark at the beginning of a file is left out
line ends     \n, \r\n or \r, which all become \n; U+2028 and the other separators of Unicode are part of the text
white space   that of ASCII: a line of it alone is empty, and it separates columns; a no-break space is part of a word
"""

import codecs
import errno
import stat
from pathlib import Path

import numpy as np

from jaxlm.errors import BadInput

BLANK = " \t\n\r\v\f"  # white space


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file.

    Args:
        path: a file, or a pipe; not a device, which may have no end.
        encoding: that of the file.

    Raises:
        BadInput: the file cannot be read, or is in another encoding; names the file and the line.
    """
    return decode_text(read_bytes(path), str(path), encoding)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        BadInput: the file cannot be read, or is a device; names it.
    """
    try:
        return file_bytes(path)
    except FileNotFoundError:
        raise BadInput(f"there is no file {path}: correct the name") from None
    except (OSError, ValueError, MemoryError) as error:  # a ValueError for a name with NUL
        reason = getattr(error, "strerror", None) or str(error) or "more than the memory holds"
        raise BadInput(f"{path} cannot be read ({reason}): give a file") from None


def file_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: the file cannot be read, or is a device, which may have no end.
    """
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a device", str(path))
    return path.read_bytes()


def decode_text(content: bytes, name: str, encoding: str = "utf-8") -> str:
    """Return the text of the bytes of a file, whose lines all end in a line feed.

    Args:
        content: the bytes.
        name: of the file, for a message.
        encoding: of the bytes.

    Raises:
        BadInput: they are in another encoding; names the file and the line.
    """
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        offset = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
        raise not_text(np.frombuffer(content, np.uint8), name, offset + error.start, encoding) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def not_text(content: np.ndarray, name: str, place: int, encoding: str = "utf-8") -> BadInput:
    """Return the error for bytes that are not in an encoding.

    Args:
        content: uint8 [bytes].
        name: of the file.
        place: of the first byte that is not in the encoding.
        encoding: what it should be.
    """
    utf16 = content[:2].tobytes() in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    line = int((content[:place] == ord("\n")).sum()) + 1
    how = "iconv -f UTF-16 -t UTF-8" if utf16 else "iconv"
    return BadInput(
        f"{name} line {line} is not {encoding.upper()} text (byte {place} is 0x{content[place]:02x}): "
        f"convert it, such as with {how}"
    )


def to_lines(text: str) -> list[str]:
    """Return the lines of a text of `decode_text`; a line break at its end begins no other line."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def is_blank(text: str) -> bool:
    """Return whether a text is empty or of white space alone."""
    return not text.strip(BLANK)
