"""From the words of a person to a cell of an ablation: its place in the table, its run directory, its record."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.ablate.record import RECORD, SEAL, Record
from jaxlm.errors import BadInput
from jaxlm.train.run_directory import EXPERIMENT, LINEAGE, RunDirectory
from jaxlm.train.serialise import digest

TABLE = "table.json"
Table = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """What a table says of one cell, and the run directory that it came from."""

    arm: str
    words: tuple[str, ...]
    seed: int
    identity: str
    value: float | None
    folder: Path

    @property
    def label(self) -> str:
        """How a command line names it."""
        return f"{self.arm}:{self.seed}"


def read_table(path: str | Path) -> tuple[Table, list[Entry]]:
    """The table of an ablation, by its directory or its file, and its cells, arm by arm.

    Raises BadInput where there is no table, or one that cannot be read.
    """
    file = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise BadInput(f"there is no table {file}: give the directory of an ablation that has come to its end")
    try:
        table = json.loads(file.read_text())
        return table, [entry for row in table["arms"] for entry in _entries(file.parent, row, table["seeds"])]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{file} is not the table of an ablation, or damaged: `jaxlm ablate` writes it anew") from None


def _entries(home: Path, row: dict[str, Any], seeds: Sequence[int]) -> list[Entry]:
    cells = zip(seeds, row["identities"], row["values"], strict=True)
    return [
        Entry(row["name"], tuple(row["words"]), seed, identity, value, _folder(home, seed, identity))
        for seed, identity, value in cells
    ]


def _folder(home: Path, seed: int, identity: str) -> Path:
    ending = f"seed{seed}-{identity[:10]}"
    return next((home / "cells").glob(f"*-{ending}"), home / "cells" / ending)


def find(entries: Sequence[Entry], name: str) -> Entry:
    """The cell that is called ARM:SEED, or whose identity or directory begins so. BadInput where not just one is."""
    found = [entry for entry in entries if entry.label == name] or [
        entry for entry in entries if entry.identity.startswith(name) or entry.folder.name.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{name!r} fits {', '.join(entry.label for entry in found[:6])}: write ARM:SEED")
    names = [entry.label for entry in entries]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    raise BadInput(f"there is no cell {name}: " + (f"did you mean {near[0]}?" if near else f"write {names[0]}, or so"))


def read_whole(folder: Path) -> Record:
    """The record of a cell. Raises BadInput for one that is missing or damaged, or was changed by hand."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
        seal = record.pop(SEAL)
    except FileNotFoundError:
        raise BadInput(f"there is no record {path}: `jaxlm ablate` makes it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"the record {path} cannot be read: `jaxlm ablate` makes it anew") from None
    if seal != digest(record):
        raise BadInput(f"the seal of {path} is broken: something changed it after it was written")
    if record["identity"] != digest(record["parts"]):
        raise BadInput(f"the identity in {path} is not the digest of its parts: something changed it")
    return record


def experiment_file(folder: Path) -> tuple[Path, str | None]:
    """The experiment file of a cell, and a note where that is a kept copy because the file is gone.

    A cell that could not be built kept nothing: the file of another cell of the ablation is its own too.
    """
    for home in (folder, *sorted(path.parent for path in folder.parent.glob(f"*/{LINEAGE}"))):
        if (home / LINEAGE).is_file():
            named, kept = Path(RunDirectory(home).lineage()["experiment"]), home / EXPERIMENT
            return (named, None) if named.is_file() else (kept, f"{named} is gone: its copy {kept} stands in")
    raise BadInput(f"{folder} does not tell its experiment file: no cell of this ablation has a {LINEAGE}")
