"""Changes of the bytes of a file, as disks, downloads, editors and enemies make them. Each is a function of a seed."""

import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

Change = Callable[[bytearray, random.Random], None]

# What a reader should not choke on, put into the place of something else.
HOSTILE = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n\r\n",
    b"\xe2\x80\xa8",
    b"\\ud83d",
    b"\\u0000",
    b'"',
    b"'",
    b",,,,",
    b"\t\t",
    b"null",
    b"NaN",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999999999999999",
    b"[]",
    b"{}",
    b'""',
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"(a+)+$",
    b"A" * 70_000,
    b"../../../etc/passwd",
    b"/dev/zero",
)


def flip(content: bytearray, draw: random.Random) -> None:
    """Flip a bit."""
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def overwrite(content: bytearray, draw: random.Random) -> None:
    """Overwrite up to eight bytes at random."""
    start = draw.randrange(len(content) + 1)
    content[start : start + draw.randrange(1, 9)] = draw.randbytes(draw.randrange(1, 9))


def cut(content: bytearray, draw: random.Random) -> None:
    """Cut the end off."""
    del content[draw.randrange(len(content) + 1) :]


def remove(content: bytearray, draw: random.Random) -> None:
    """Remove a piece."""
    start = draw.randrange(len(content) + 1)
    del content[start : start + draw.randrange(1, 200)]


def repeat(content: bytearray, draw: random.Random) -> None:
    """Repeat a piece."""
    start = draw.randrange(len(content) + 1)
    piece = content[start : start + draw.randrange(1, 200)]
    content[start:start] = piece * draw.choice((1, 1, 2, 50))


def insert(content: bytearray, draw: random.Random) -> None:
    """Insert something hostile."""
    start = draw.randrange(len(content) + 1)
    content[start:start] = draw.choice(HOSTILE)


def replace_number(content: bytearray, draw: random.Random) -> None:
    """Put something hostile into the place of a number."""
    _replace(content, draw, rb"-?\d+(\.\d+)?")


def replace_string(content: bytearray, draw: random.Random) -> None:
    """Put something hostile into the place of a quoted string."""
    _replace(content, draw, rb'"[^"\n]{0,60}"')


def _replace(content: bytearray, draw: random.Random, pattern: bytes) -> None:
    found = list(re.finditer(pattern, content[:200_000]))
    if found:
        start, stop = draw.choice(found).span()
        content[start:stop] = draw.choice(HOSTILE)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**7, 10**40, 0.5, 1e308, float("nan")),
    *("", "a", "\ud83d", "A" * 300, "../x", "/dev/zero", "(a+)+$", [], {}, [[]], [0], ["a"], {"a": 0}, {"": None}),
)


def change_json(content: bytearray, draw: random.Random) -> None:
    """Replace, remove, rename, repeat or swap values in JSON, or in a line of JSON lines; the result is JSON again."""
    lines = (
        bytes(content).split(b"\n") if not content.lstrip().startswith((b"{\n", b"[\n", b"{\r")) else [bytes(content)]
    )
    row = draw.randrange(len(lines))
    try:
        value = json.loads(lines[row])
    except (ValueError, RecursionError):
        return insert(content, draw)
    for _ in range(draw.choice((1, 1, 2, 4))):
        value = _changed(value, draw)
    lines[row] = json.dumps(value).encode()
    content[:] = b"\n".join(lines)
    return None


def _changed(value: Any, draw: random.Random) -> Any:
    """Return a JSON value with one change somewhere inside; mostly not at the top."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice(VALUES)
    if isinstance(value, list):
        place = draw.randrange(len(value))
        head, tail = value[:place], value[place + 1 :]
        how = draw.random()
        if how < 0.1:
            return head + tail
        return head + ([value[place]] * 3 if how < 0.2 else [_changed(value[place], draw)]) + tail
    name = draw.choice(sorted(value))
    rest = {key: item for key, item in value.items() if key != name}
    how = draw.random()
    if how < 0.1:
        return rest
    if how < 0.2:
        return rest | {name + draw.choice(("", "x", "_", "\u00e9")): value[name]}
    if how < 0.3:
        return rest | {name: value[draw.choice(sorted(value))]}
    return value | {name: _changed(value[name], draw)}


def change_header(content: bytearray, draw: random.Random) -> None:
    """Change the JSON header of safetensors, and its length with it."""
    if len(content) < 8 or not (size := int.from_bytes(content[:8], "little")) < len(content):
        return flip(content, draw)
    header = content[8 : 8 + size]
    change_json(header, draw)
    content[: 8 + size] = len(header).to_bytes(8, "little") + header
    return None


def change_member(content: bytearray, draw: random.Random) -> None:
    """Change a file inside of a zip file, whose checksum is right again."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as found:
            inside = {name: bytearray(found.read(name)) for name in found.namelist()}
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError):
        return flip(content, draw)
    if inside:
        part = inside[draw.choice(sorted(inside))]
        head = part[:128]
        draw.choice(CHANGES)(head, draw)
        part[:128] = head
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, part in inside.items():
            file.writestr(name, bytes(part))
    content[:] = made.getvalue()
    return None


def change_chunk(content: bytearray, draw: random.Random) -> None:
    """Change a chunk of a PNG file, whose checksum is right again."""
    place, places = 8, []
    while place + 12 <= len(content):
        places.append(place)
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    if not places:
        return flip(content, draw)
    place = draw.choice(places)
    size = int.from_bytes(content[place : place + 4], "big")
    body = content[place + 8 : place + 8 + size]
    draw.choice(CHANGES)(body, draw)
    kind = content[place + 4 : place + 8]
    content[place : place + 12 + size] = (
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    )
    return None


CHANGES: tuple[Change, ...] = (
    flip,
    overwrite,
    cut,
    remove,
    repeat,
    insert,
    replace_number,
    replace_string,
)


def _of_format(name: str, content: bytearray) -> Change | None:
    """Return the change that leaves the outer form of a file whole."""
    if name.endswith((".json", ".jsonl")):
        return change_json
    if name.endswith(".safetensors"):
        return change_header
    if content.startswith(b"PK"):
        return change_member
    return change_chunk if content.startswith(b"\x89PNG") else None


def mutate(files: Mapping[str, bytes], draw: random.Random, whole: Collection[str] = ()) -> dict[str, bytes]:
    """Return files of which one, at times two, have one to six changes.

    Args:
        files: content by name.
        draw: what is changed.
        whole: names of files that are not changed.
    """
    changed, names = dict(files), sorted(files.keys() - set(whole))
    for name in draw.sample(names, min(len(names), draw.choice((1, 1, 1, 2)))):
        content = bytearray(files[name])
        for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
            own = _of_format(name, content) if draw.random() < 0.6 else None
            (own or draw.choice(CHANGES))(content, draw)
        changed[name] = bytes(content)
    return changed
