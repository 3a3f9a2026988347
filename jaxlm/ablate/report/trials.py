"""The table of a hyperparameter search: as data, and as text and CSV."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxlm.ablate.report.formats import csv_text, format_grid, number, printable
from jaxlm.runs.files import write_atomic

TrialRow = dict[str, Any]


def trials_table(rows: Sequence[TrialRow], metric: str, maximize: bool, seed: int, prune: bool) -> dict[str, Any]:
    """Return the table as JSON: a function of the records alone, with no time, no path and no machine in it.

    Args:
        rows: One for each trial, in their order: {"trial", "state", "value", "why", "point", "words", "identity"}; a
            state is "complete", "pruned" or "failed".
        metric: Name of what was optimised.
        maximize: Whether more of it is better.
        seed: Seed of the search.
        prune: Whether bad trials were ended early.

    Returns:
        The arguments, "ranking": the trials from the best on, those without a value last, and "best": the first of
        them, or None without a value.
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
        "foot": _foot(rows, seed),
    }


def _foot(rows: Sequence[TrialRow], seed: int) -> list[str]:
    """Return the notes of a search: what became of the trials, and that the best of many looks better than it is."""
    states = [row["state"] for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    return [
        f"{len(rows)} trials ({counts}), TPE with seed {seed}.",
        "The value of the best is too good: it was chosen among all of them, at one seed of the run. Compare it with "
        "the base at several seeds (jaxlm ablate) before you claim anything.",
    ]


def trials_text(table: Mapping[str, Any]) -> str:
    """Return the trials for a terminal, best first."""
    fields = list(table["trials"][0]["point"])
    rows = [table["trials"][index] for index in table["ranking"]]
    grid = [["trial", table["metric"], *fields]]
    for row in rows:
        shown = row["state"] if row["value"] is None else number(row["value"])
        grid.append([str(row["trial"]), shown, *(_short(row["point"][field]) for field in fields)])
    reasons = [printable(f"trial {row['trial']}: {row['why']}") for row in table["trials"] if row["why"]]
    title = f"{table['metric']} ({table['better']} is better)"
    return "\n".join([title, "", format_grid(grid), "", *table["foot"], *reasons, ""])


def _short(value: str) -> str:
    """Round a long number to five significant digits; keep every other value as it is."""
    try:
        return value if len(value) < 8 else number(float(value))
    except ValueError:
        return printable(value)


def trials_csv(table: Mapping[str, Any]) -> str:
    """Return one line for each trial, in their order, every number whole."""
    fields = list(table["trials"][0]["point"])
    lines = [["trial", "state", table["metric"], *fields, "words", "why"]]
    for row in table["trials"]:
        point = [row["point"][field] for field in fields]
        lines.append([row["trial"], row["state"], row["value"], *point, " ".join(row["words"]), row["why"]])
    return csv_text(lines)


def write_trials(home: Path, table: Mapping[str, Any]) -> None:
    """Write trials.json, .csv and .txt to a directory, each whole or not at all."""
    write_atomic(home / "trials.json", json.dumps(table, indent=1) + "\n")
    write_atomic(home / "trials.csv", trials_csv(table))
    write_atomic(home / "trials.txt", trials_text(table))
