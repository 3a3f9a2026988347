"""Why cells that have been trained before are trained again: what of their identity has changed."""

import glob
from collections.abc import Sequence
from pathlib import Path

from jaxlm.ablate.audit.diff import PACKING, differences
from jaxlm.ablate.audit.find import read_whole
from jaxlm.ablate.cell import Cell, cell_name
from jaxlm.ablate.record import RECORD, Record
from jaxlm.errors import BadInput

SHOWN = 4  # changes that are named of each part


def say_lost(directory: Path, cells: Sequence[Cell]) -> list[str]:
    """Return a line for each change that makes cells other ones than those recorded for the same arm and seed.

    Args:
        directory: of the ablation.
        cells: that have no record.
    """
    changed: dict[str, list[Cell]] = {}
    for cell in cells:
        if (record := newest_record(directory, cell)) is not None:
            changed.setdefault(_in_words(record, cell), []).append(cell)
    return [f"{_names(same)} recorded for other {what}" for what, same in changed.items()]


def newest_record(directory: Path, cell: Cell) -> Record | None:
    """Return the newest whole record of an arm and a seed, whatever its identity."""
    pattern = f"{glob.escape(cell_name(cell.arm, cell.seed, ''))}*/{RECORD}"
    for path in sorted((directory / "cells").glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            record = read_whole(path.parent)
        except BadInput:
            continue
        if record["arm"] == cell.arm:
            return record
    return None


def _in_words(record: Record, cell: Cell) -> str:
    parts = differences(record["parts"], cell.parts)
    words = [f"{name} ({'; '.join(found[:SHOWN])}{_more(found)})" for name, found in parts.items()]
    return ", ".join(words) or f"packing ({record['parts'].get(PACKING)} -> {cell.parts.get(PACKING)})"


def _more(found: Sequence[str]) -> str:
    return f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""


def _names(cells: Sequence[Cell]) -> str:
    first = f"{cells[0].arm}, seed {cells[0].seed}"
    if len(cells) == 1:
        return f"{first}, is trained again: it is"
    return f"{first}, and {len(cells) - 1} more cells are trained again: they are"
