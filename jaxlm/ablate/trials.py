"""The table of a search: as data, and in the forms in which it is read."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.forms import aligned, number
from jaxlm.ablate.record import write_atomic

Row = dict[str, Any]


def tabulate(rows: Sequence[Row], metric: str, maximize: bool, seed: int, prune: bool) -> dict[str, Any]:
    """The table as JSON: a function of the records alone, with no time, no path and no machine in it.

    rows: one for each trial, in their order, {"trial", "state", "value", "why", "point", "words", "identity"}; a state
      is "complete", "pruned" or "failed".
    ranking: the trials from the best on, and those without a value last.    best: the first, or None without a value.
    """
    found = sorted((row for row in rows if row["value"] is not None), key=lambda row: row["value"], reverse=maximize)
    ranking = [*found, *(row for row in rows if row["value"] is None)]
    return {
        "metric": metric,
        "better": "larger" if maximize else "smaller",
        "sampler": "TPE",
        "pruner": "median" if prune else None,
        "seed": seed,
        "trials": list(rows),
        "ranking": [row["trial"] for row in ranking],
        "best": found[0]["trial"] if found else None,
        "foot": foot(rows, seed),
    }


def foot(rows: Sequence[Row], seed: int) -> list[str]:
    """What a reader must know: what became of the trials, and that the best of many looks better than it is."""
    states = [row["state"] for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    return [
        f"{len(rows)} trials ({counts}), TPE with seed {seed}.",
        "The value of the best is too good: it was chosen among all of them, at one seed of the run. Compare it with "
        "the base at several seeds (jaxlm ablate) before you claim anything.",
    ]


def text(table: Mapping[str, Any]) -> str:
    """The trials for a terminal, best first."""
    fields = list(table["trials"][0]["point"])
    rows = [table["trials"][index] for index in table["ranking"]]
    grid = [["trial", table["metric"], *fields]]
    for row in rows:
        shown = row["state"] if row["value"] is None else number(row["value"])
        grid.append([str(row["trial"]), shown, *(_short(row["point"][field]) for field in fields)])
    reasons = [f"trial {row['trial']}: {row['why']}" for row in table["trials"] if row["why"]]
    title = f"{table['metric']} ({table['better']} is better)"
    return "\n".join([title, "", *aligned(grid), "", *table["foot"], *reasons, ""])


def _short(value: str) -> str:
    """A long number to five significant digits; every other value as it is."""
    try:
        return value if len(value) < 8 else number(float(value))
    except ValueError:
        return value


def as_csv(table: Mapping[str, Any]) -> str:
    """One line a trial, in their order, every number whole."""
    fields = list(table["trials"][0]["point"])
    lines = [["trial", "state", table["metric"], *fields, "words", "why"]]
    for row in table["trials"]:
        point = [row["point"][field] for field in fields]
        lines.append([row["trial"], row["state"], row["value"], *point, " ".join(row["words"]), row["why"]])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def write_trials(home: Path, table: Mapping[str, Any]) -> None:
    """Write trials.json, .csv and .txt to a directory, each whole or not at all."""
    for suffix, shown in (("json", json.dumps(table, indent=1) + "\n"), ("csv", as_csv(table)), ("txt", text(table))):
        write_atomic(home / f"trials.{suffix}", shown)
