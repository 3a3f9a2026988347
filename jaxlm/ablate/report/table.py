"""The table of an ablation as data, and its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.cell import EXACT, VMAPPED
from jaxlm.ablate.record import Record, value_of
from jaxlm.ablate.report.formats import FORMATS
from jaxlm.ablate.report.statistics import (
    DRAWS,
    LEVEL,
    MOST_EXACT,
    compare,
    holm,
    is_significant,
    pairs_needed,
    summarise,
)
from jaxlm.runs.files import write_atomic

SOURCES = {"init": "initialisation", "data": "order of the data", "noise": "dropout and augmentation"}
DIGITS = 10  # significant digits of what is computed; values of cells are kept as they are


def ablation_table(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    records: Mapping[tuple[str, int], Record],
    metric: str,
    maximize: bool,
    kept: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the table as JSON: a function of the records alone, with no time, no path and no machine in it.

    Args:
        arms: The base first.
        seeds: The seeds of every arm.
        records: The record of every cell, by arm and seed.
        metric: The name of what is compared, at the end of each run.
        maximize: Whether more of it is better.
        kept: Sources of variation that do not follow the seed, and the seed that each has in every cell.
    """
    rows = [_row(arm, [records[arm.name, seed] for seed in seeds], metric) for arm in arms]
    base, others = rows[0], rows[1:]
    compared = [compare(row["values"], base["values"], maximize) for row in others]
    pairs, corrected = [found.difference.n for found in compared], holm([found.p for found in compared])
    claims = is_significant(pairs, corrected)
    for row, found, holm_p, claim in zip(others, compared, corrected, claims, strict=True):
        row["against_base"] = {
            "pairs": found.difference.n,
            "difference": _short(found.difference.mean),
            "low": _short(found.difference.low),
            "high": _short(found.difference.high),
            "p": _short(found.p),
            "holm_p": _short(holm_p),
            "significant": claim,
            "improvement": _short(found.improvement),
        }
    packing = VMAPPED if any(record["parts"].get("packing") == VMAPPED for record in records.values()) else EXACT
    table = {"metric": metric, "better": "larger" if maximize else "smaller", "packing": packing, "seeds": list(seeds)}
    lines = [_kept(kept)] if kept else []
    if packing == VMAPPED:
        lines.append("Runs were vmapped, several in one program: their last digits are not those of runs alone.")
    return {**table, "kept": dict(kept or {}), "arms": rows, "foot": [*lines, *_foot(rows, seeds, metric, maximize)]}


def _kept(kept: Mapping[str, int]) -> str:
    varied = ", ".join(name for source, name in SOURCES.items() if source not in kept)
    fixed = ", ".join(f"{SOURCES[source]} at {seed}" for source, seed in kept.items())
    return f"Only one source follows the seed: {varied}. The others stay in every cell: {fixed}."


def _row(arm: Arm, records: Sequence[Record], metric: str) -> dict[str, Any]:
    found = [value_of(record, metric) for record in records]
    values = [value for value, _ in found]
    failed = [{"seed": record["seed"], "why": why} for record, (_, why) in zip(records, found, strict=True) if why]
    summary = {name: _short(value) for name, value in asdict(summarise(values)).items()}
    identities = [record["identity"] for record in records]
    return {"name": arm.name, "words": list(arm.words), **summary, "values": values, "failed": failed} | {
        "identities": identities
    }


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _foot(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int], metric: str, maximize: bool) -> list[str]:
    """Return the notes of a table: seeds and pairing, the test, what is not claimed and why, the cells that failed."""
    span = f"Seed {seeds[0]}" if len(seeds) == 1 else f"Seeds {seeds[0]} to {seeds[-1]}"
    tested = sum(row["against_base"]["p"] is not None for row in rows[1:])
    test = f"p: exact two-sided sign-flip test of the pairs; Holm p: corrected for the {tested} arms that have pairs."
    if len(seeds) > MOST_EXACT:
        test = test.replace("exact two-sided sign-flip test", f"two-sided test of {DRAWS} random sign flips")
    lines = [
        f"{span} in every arm. Arms are paired with the base by seed: the same order of "
        "data, and the same initialisation wherever shapes agree.",
        f"Difference: arm minus base; {'larger' if maximize else 'smaller'} {metric} is better. P(better): share of "
        "the pairs in which the arm is better, ties counting half. Intervals: 95 % t-intervals.",
        test,
        *_claims(rows[1:], tested or len(rows) - 1),
        "No bootstrap interval is given: at so few seeds it is too narrow (a nominal 95 % percentile bootstrap covers "
        "83 % at n = 5, the t-interval 95 %).",
    ]
    if failed := sum(len(row["failed"]) for row in rows):
        lines.append(f"Failed cells: {failed} of {len(rows) * len(seeds)}, left out together with their pairs.")
    return lines


def _claims(others: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """Say what significant means, and how many seeds `count` arms need where nothing is claimed."""
    arms, needed = f"{count} arm{'s' * (count > 1)}", pairs_needed(count)
    least = f"the smallest Holm p of n pairs is {f'{count} x ' * (count > 1)}2/2^n with {arms}"
    fewest = needed or f"more than {MOST_EXACT}"
    lines = [
        f"Significant: Holm p below {LEVEL:g}. As {least}, it takes {fewest} pairs; with fewer no result could be "
        "significant."
    ]
    if unclaimed := sum(row["against_base"]["significant"] is None for row in others):
        remedy = f"{arms} need{'s' * (count == 1)} {needed} seeds or more" if needed else "compare fewer arms"
        lines.append(f"Not claimed: {unclaimed} of {len(others)} comparisons have too few pairs: {remedy}.")
    return lines


def write_table(
    home: Path, table: Mapping[str, Any], records: Mapping[tuple[str, int], Record], command: Sequence[str]
) -> None:
    """Write table.json, every other format of the table and its page to a directory, each whole or not at all."""
    from jaxlm.ablate.report.html import page  # matplotlib and Jinja2: only where a page is written

    write_atomic(home / "table.json", json.dumps(table, indent=1) + "\n")
    for suffix, format_table in FORMATS.items():
        write_atomic(home / f"table.{suffix}", format_table(table))
    write_atomic(home / "table.html", page(table, records, command))
