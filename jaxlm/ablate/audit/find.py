"""Find a cell of an ablation by its name: its place in the table, its run directory, its record."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.ablate.record import RECORD, SEAL, Record
from jaxlm.errors import BadInput
from jaxlm.runs.directory import LINEAGE, RunDirectory
from jaxlm.runs.serialise import digest, from_json

TABLE = "table.json"
TableJson = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Attributes:
        arm: its name.
        words: the override words of the arm.
        seed: of the run.
        identity: SHA-256.
        value: of the table's metric, or None.
        folder: the run directory.
    """

    arm: str
    words: tuple[str, ...]
    seed: int
    identity: str
    value: float | None
    folder: Path

    @property
    def label(self) -> str:
        """Its name on a command line."""
        return f"{self.arm}:{self.seed}"


def read_table(path: str | Path) -> tuple[TableJson, list[Entry]]:
    """Read the table of an ablation from its directory or its file; return it and its cells, arm by arm.

    Raises:
        BadInput: there is no table, or one that cannot be read.
    """
    file = Path(path) / TABLE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise BadInput(f"there is no table {file}: give the directory of an ablation that has come to its end")
    try:
        table = json.loads(file.read_text("utf-8"))
        return table, [entry for row in table["arms"] for entry in _entries(file.parent, row, table["seeds"])]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"{file} is not the table of an ablation, or damaged: `jaxlm ablate` writes it again") from None


def _entries(folder: Path, row: dict[str, Any], seeds: Sequence[int]) -> list[Entry]:
    cells = zip(seeds, row["identities"], row["values"], strict=True)
    return [
        Entry(row["name"], tuple(row["words"]), seed, identity, value, _folder(folder, seed, identity))
        for seed, identity, value in cells
    ]


def _folder(folder: Path, seed: int, identity: str) -> Path:
    ending = f"seed{seed}-{identity[:10]}"
    return next((folder / "cells").glob(f"*-{ending}"), folder / "cells" / ending)


def find(entries: Sequence[Entry], name: str) -> Entry:
    """Return the cell that is called ARM:SEED, or whose identity or directory begins so.

    Raises:
        BadInput: no cell, or more than one.
    """
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
    """Read the record of a cell.

    Raises:
        BadInput: it is missing or damaged, or was changed by hand.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
        seal = record.pop(SEAL)
    except FileNotFoundError:
        raise BadInput(f"there is no record {path}: `jaxlm ablate` makes it") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadInput(f"the record {path} cannot be read: `jaxlm ablate` makes it again") from None
    if seal != digest(record):
        raise BadInput(f"the seal of {path} is broken: something changed it after it was written")
    if record["identity"] != digest(record["parts"]):
        raise BadInput(f"the identity in {path} is not the digest of its parts: something changed it")
    return record


def experiment_file(folder: Path) -> tuple[Path, str | None]:
    """Return the experiment file of a cell, and a line that says so where it is a kept copy because the file is gone.

    A cell that could not be built kept nothing; it has the file of the other cells of its ablation.
    """
    for run in (folder, *sorted(path.parent for path in folder.parent.glob(f"*/{LINEAGE}"))):
        if (run / LINEAGE).is_file():
            named, kept = Path(RunDirectory(run).lineage()["experiment"]), RunDirectory(run).experiment
            return (named, None) if named.is_file() else (kept, f"{named} is gone: its copy {kept} is used")
    raise BadInput(f"{folder} has no experiment file: no cell of this ablation has a {LINEAGE}")


def recorded_config(cell: Path, record: Record) -> Any:
    """Return the config of a cell; for one that never began, the fields of its record, on which its numbers depend."""
    run_dir = RunDirectory(cell)
    return run_dir.config(as_given=True) if run_dir.started else from_json(nested(record["parts"]["config"]), cell)


def nested(fields: dict[str, Any]) -> dict[str, Any]:
    """Invert `flatten`: {"model.depth": 4} -> {"model": {"depth": 4}}."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree
