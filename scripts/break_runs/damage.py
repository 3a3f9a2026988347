"""Damage a file of a run, in every way that a disk, an editor or a copy does."""

import json
import os
import random
import shutil
from pathlib import Path

JSON = ("[]", "null", "{}", '"text"', "3", "[" * 20_000, '{"digest": null}', "{" * 9, "\ufeff{}", "NaN")


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    if content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random) -> None:
    """Keep the beginning."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(max(len(content), 1))])


def zero(path: Path, draw: random.Random) -> None:
    """Overwrite a part with zeros, as after a power cut."""
    content = bytearray(path.read_bytes())
    first = draw.randrange(max(len(content), 1))
    last = min(len(content), first + draw.randrange(1, 512))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)


def mix(path: Path, draw: random.Random) -> None:
    """Put random bytes in, and take others out."""
    content = path.read_bytes()
    first, size = draw.randrange(len(content) + 1), draw.randrange(16)
    path.write_bytes(content[:first] + draw.randbytes(draw.randrange(16)) + content[first + size :])


def empty(path: Path, draw: random.Random) -> None:
    """Keep nothing."""
    path.write_bytes(b"")


def delete(path: Path, draw: random.Random) -> None:
    """Remove the file."""
    path.unlink()


def folder(path: Path, draw: random.Random) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def device(path: Path, draw: random.Random) -> None:
    """Put a link to a device, or to nothing, in its place."""
    path.unlink()
    path.symlink_to(draw.choice(["/dev/zero", "/nowhere"]))


def other_json(path: Path, draw: random.Random) -> None:
    """Put other JSON in its place."""
    path.write_text(draw.choice(JSON))


def value(path: Path, draw: random.Random) -> None:
    """Change a value of a JSON object; of lines of them, in one line."""
    lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
    number = draw.randrange(len(lines))
    try:
        content = json.loads(lines[number])
        content[draw.choice(sorted(content))] = draw.choice([None, [], {}, "x", True, -1])
        lines[number] = json.dumps(content)
    except ValueError:
        lines[number] = "{}"
    path.write_text("\n".join(lines))


def twin(path: Path, draw: random.Random) -> None:
    """Put the same file of another checkpoint in its place, or that checkpoint under this number."""
    parts = path.parts
    if "checkpoints" not in parts:
        return flip(path, draw)
    index = parts.index("checkpoints") + 1
    this = Path(*parts[: index + 1])
    other = draw.choice(sorted(other for other in this.parent.iterdir() if other != this))
    if draw.random() < 0.5:
        shutil.rmtree(this)
        shutil.copytree(other, this)
    elif (source := other / Path(*parts[index + 1 :])).is_file():
        shutil.copy(source, path)
    else:
        flip(path, draw)
    return None


ANY = (flip, flip, flip, cut, zero, mix, empty, delete, folder, device, twin)
OF_JSON = (*ANY, other_json, value, value)


def choose_file(run: Path, draw: random.Random) -> Path:
    """Return a file of a run: each of its own as often as all of its checkpoints, and a seal as often as the rest."""
    kind = draw.choice(["config.json", "lineage.json", "metrics.jsonl", "seal", "seal", "checkpoint", "checkpoint"])
    if "." in kind:
        return run / kind
    step = draw.choice(sorted((run / "checkpoints").iterdir()))
    if kind == "seal":
        return step / "seal.json"
    return draw.choice(sorted(path for path in step.rglob("*") if path.is_file() and path.name != "seal.json"))


def damage(run: Path, draw: random.Random) -> str:
    """Damage a file of a run, and return what was done."""
    path = choose_file(run, draw)
    kind = draw.choice(OF_JSON if path.suffix in (".json", ".jsonl") else ANY)
    name = os.path.relpath(path, run)
    kind(path, draw)
    return f"{kind.__name__} {name}"
