"""The table of an ablation as data. Its forms to read are in `forms`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.forms import FORMS
from jaxlm.ablate.packing import EXACT, PLACES, UPDATES, VMAPPED
from jaxlm.ablate.page import page
from jaxlm.ablate.record import Record, value_of, write_atomic
from jaxlm.ablate.statistics import DRAWS, MOST_EXACT, compare, holm, is_significant, summarise

SOURCES = {"init": "initialisation", "data": "order of the data", "noise": "dropout and augmentation"}
DIGITS = 10  # significant digits of what is computed; values of cells are kept as they are


def tabulate(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    records: Mapping[tuple[str, int], Record],
    metric: str,
    maximize: bool,
    kept: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The table as JSON: a function of the records alone, with no time, no path and no machine in it.

    arms: the base first.    seeds: of every arm.    records: by arm and seed, one for each.
    kept: sources of variation that do not follow the seed, and the seed that each has in every cell.
    """
    rows = [_row(arm, [records[arm.name, seed] for seed in seeds], metric) for arm in arms]
    base, others = rows[0], rows[1:]
    compared = [compare(row["values"], base["values"], maximize) for row in others]
    for row, found, corrected in zip(others, compared, holm([found.p for found in compared]), strict=True):
        row["against_base"] = {
            "pairs": found.difference.n,
            "difference": _short(found.difference.mean),
            "low": _short(found.difference.low),
            "high": _short(found.difference.high),
            "p": _short(found.p),
            "holm_p": _short(corrected),
            "significant": is_significant(found.difference.n, corrected),
            "improvement": _short(found.improvement),
        }
    packing = next((record["parts"].get("packing", EXACT) for record in records.values()), EXACT)
    table = {"metric": metric, "better": "larger" if maximize else "smaller", "packing": packing, "seeds": list(seeds)}
    told = [_kept(kept)] if kept else []
    if packing == VMAPPED:
        told.append(_vmapped(max(record.get("deviation", 0.0) for record in records.values())))
    return {**table, "kept": dict(kept or {}), "arms": rows, "foot": [*told, *foot(rows, seeds, metric, maximize)]}


def _kept(kept: Mapping[str, int]) -> str:
    varied = ", ".join(name for source, name in SOURCES.items() if source not in kept)
    fixed = ", ".join(f"{SOURCES[source]} at {seed}" for source, seed in kept.items())
    return f"Only one source follows the seed: {varied}. The others stay in every cell: {fixed}."


def _vmapped(deviation: float) -> str:
    return (
        "Runs were vmapped: they have not the bits of runs alone. A parameter or a metric differed by up to "
        f"{deviation:.1g} of its largest entry in the {UPDATES * PLACES} updates of a trial."
    )


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


def foot(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int], metric: str, maximize: bool) -> list[str]:
    """What a reader must know: seeds and pairing, the test, what is not claimed and why, and the cells that failed."""
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
        "No significance is claimed below six pairs: five cannot reach p < 0.05 in an exact two-sided test "
        "(2/2^5 = 0.0625).",
        "No bootstrap interval is given: at so few seeds it is too narrow (a nominal 95 % percentile bootstrap covers "
        "83 % at n = 5, the t-interval 95 %).",
    ]
    if failed := sum(len(row["failed"]) for row in rows):
        lines.append(f"Failed cells: {failed} of {len(rows) * len(seeds)}, left out together with their pairs.")
    return lines


def write_table(
    home: Path, table: Mapping[str, Any], records: Mapping[tuple[str, int], Record], command: Sequence[str]
) -> None:
    """Write table.json, every form of the table and its page to a directory, each whole or not at all."""
    write_atomic(home / "table.json", json.dumps(table, indent=1) + "\n")
    for suffix, form in FORMS.items():
        write_atomic(home / f"table.{suffix}", form(table))
    write_atomic(home / "table.html", page(table, records, command))
