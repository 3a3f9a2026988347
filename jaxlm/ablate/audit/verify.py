"""Verify a table: make it again from its records, and run its cells again, each alone in a fresh process."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.audit.diff import ROUNDING
from jaxlm.ablate.audit.find import Entry, TableJson, find, read_table, read_whole
from jaxlm.ablate.audit.rerun import FOUND
from jaxlm.ablate.record import Record
from jaxlm.ablate.report.table import ablation_table
from jaxlm.ablate.sources import PACKAGE
from jaxlm.errors import BadInput
from jaxlm.interrupt import Stopped

TOLERANCE = 1e-3
SHOWN = 5  # leaves or fields that are named of each kind
ABSENT = "nothing"

Curves = dict[str, list[list[Any]]]


@dataclass
class Verdict:
    """The result for one cell.

    Attributes:
        agrees: whether record and new run do.
        line: says so.
        more: further lines.
    """

    agrees: bool
    line: str
    more: list[str] = field(default_factory=list)


def verify_table(
    path: str | Path,
    names: Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    anyway: bool = False,
) -> int:
    """Run cells of a table again and print a line for each; return 0 if the table and all of them agree, else 1.

    Metrics and the final state must agree in every bit; a vmapped cell is vmapped again. The metrics must agree within
    a relative tolerance where only packages or platform differ from those recorded, and for a cell that was vmapped
    with other runs after a kill than before it. A cell of which more differs is another experiment: it is not run, and
    does not agree.

    Args:
        path: the directory or table.json of an ablation.
        names: of cells, as ARM:SEED; the default is all of them.
        sample: draw that many cells at random instead.
        seed: of the sample.
        tolerance: relative.
        anyway: run another experiment, too.

    Raises:
        BadInput: a table or cells that are not there.
    """
    table, entries = read_table(path)
    chosen = choose_entries(entries, names, sample, seed)
    if not 0 <= tolerance < 1:
        raise BadInput(f"--tolerance {tolerance}: give a number in [0, 1)")
    whole = table_fault(table, entries)
    print(f"table: {whole or 'it is what its records make'}", flush=True)
    width, agreeing = max(len(entry.label) for entry in chosen), 0
    with tempfile.TemporaryDirectory(prefix="jaxlm-verify-") as scratch:
        for number, entry in enumerate(chosen):
            verdict = verify_cell(entry, Path(scratch) / str(number), tolerance, anyway)
            agreeing += verdict.agrees
            lines = [f"{entry.label:{width}}  {verdict.line}", *(f"{'':{width}}    {line}" for line in verdict.more)]
            print("\n".join(lines), flush=True)
            shutil.rmtree(Path(scratch) / str(number), ignore_errors=True)
    print(f"{len(chosen)} of {len(entries)} cells run again: {agreeing} agree, {len(chosen) - agreeing} do not")
    return int(agreeing < len(chosen) or whole is not None)


def choose_entries(entries: Sequence[Entry], names: Sequence[str], sample: int | None, seed: int) -> list[Entry]:
    """Return the cells asked for, in the order of the table, or raise BadInput."""
    if names and sample is not None:
        raise BadInput("--cell names the cells and --sample draws them: give one of the two")
    if names:
        return [find(entries, name) for name in dict.fromkeys(names)]
    if sample is None:
        return list(entries)
    if not 1 <= sample <= len(entries):
        raise BadInput(f"--sample {sample}: the table has {len(entries)} cells, give 1 to {len(entries)}")
    return [entries[index] for index in sorted(random.Random(seed).sample(range(len(entries)), sample))]


def table_fault(table: TableJson, entries: Sequence[Entry]) -> str | None:
    """Return how a table differs from the one that its records make, or None."""
    try:
        records = {(entry.arm, entry.seed): read_whole(entry.folder) for entry in entries}
    except BadInput as error:
        return f"IT CANNOT BE MADE AGAIN: {error}"
    arms = [Arm(row["name"], tuple(row["words"])) for row in table["arms"]]
    made = ablation_table(arms, table["seeds"], records, table["metric"], table["better"] == "larger", table["kept"])
    differing = [arm.name for arm, old, new in zip(arms, table["arms"], made["arms"], strict=True) if old != new]
    return f"IT IS NOT WHAT ITS RECORDS MAKE in {', '.join(differing)}" if differing else None


def verify_cell(entry: Entry, out: Path, tolerance: float, anyway: bool) -> Verdict:
    """Run a cell again in a fresh process and compare it with its record."""
    try:
        record = read_whole(entry.folder)
        if record["identity"] != entry.identity:
            raise BadInput(f"{entry.folder} holds a cell of another identity than the table has")
        found = run_again(entry.folder, out, anyway)
    except BadInput as error:
        return Verdict(False, f"CANNOT BE VERIFIED: {error}")
    return judge(record, found, tolerance)


def run_again(cell: Path, out: Path, anyway: bool) -> dict[str, Any]:
    """Return what `python -m jaxlm.ablate.audit.rerun` found in a process of its own.

    This process must not touch a device itself: an accelerator serves one of them.

    Raises:
        BadInput: it broke off; with its last line.
    """
    command = [sys.executable, "-m", "jaxlm.ablate.audit.rerun", str(cell), str(out), *(["--anyway"] if anyway else [])]
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    )
    if done.returncode > 128:
        raise Stopped(done.returncode - 128)
    if not (out / FOUND).is_file():
        last = (done.stderr.strip() or f"it ended with exit code {done.returncode}").splitlines()[-1]
        raise BadInput(last.removeprefix("error: "))
    return json.loads((out / FOUND).read_text("utf-8"))


def judge(record: Record, found: dict[str, Any], tolerance: float) -> Verdict:
    """Compare a record with what a new run found, in every bit or within the tolerance."""
    parts = found["differences"]
    more = [f"{name} differs: {_few(changes)}" for name, changes in parts.items()]
    more += [found["note"]] if found["note"] else []
    if found["record"] is None:
        hard = ", ".join(name for name in parts if name not in ROUNDING)
        return Verdict(False, f"NOT THE SAME EXPERIMENT ({hard}): not run, --anyway does it", more)
    loose = [f"other {name}" for name in parts if name in ROUNDING]
    loose += [] if found["same_packs"] else ["packs of other sizes"]
    wrong = [_failure(record, found["record"], exact=not loose)]
    wrong += [first_difference(record["curves"], found["record"]["curves"], tolerance if loose else 0.0)]
    wrong += [] if loose else [_states(found["states"])]
    if any(wrong):
        first, *others = filter(None, wrong)
        return Verdict(False, f"DIFFERS: {first}", [*others, *more])
    how = f"within {tolerance:g} ({' and '.join(loose)})" if loose else "in every bit"
    values = sum(map(len, record["curves"].values()))
    line = f"agrees {how}: {values} values of {len(record['curves'])} metrics"
    if not loose and found["states"]["digests"][0]:
        line += f", state {found['states']['digests'][0][:12]} at update {found['states']['steps'][0]}"
    return Verdict(True, line + (f"; fails alike: {record['failed']}" if record["failed"] else ""), more)


def _failure(there: Record, here: Record, exact: bool) -> str | None:
    """Return how two records differ in having failed, or None."""
    whys = [None if one["failed"] is None else one["failed"].replace(_name(one), "") for one in (there, here)]
    if whys[0] == whys[1] or (not exact and None not in whys):
        return None
    return f"it {_ended(there)} as recorded, and here it {_ended(here)}"


def _name(record: Record) -> str:
    return record["identity"][:10]  # in the name of its run directory, which a failure may tell


def _ended(record: Record) -> str:
    return "ended well" if record["failed"] is None else f"failed ({record['failed']})"


def first_difference(there: Curves, here: Curves, tolerance: float) -> str | None:
    """Return the first update, and the metric, at which two sets of curves differ; None where they agree.

    Finite values agree within the relative tolerance; with 0 they must be equal. A value that is not finite, or not
    there, agrees only with another such.
    """
    first, second = _points(there), _points(here)
    differ = sorted(
        at for at in {**first, **second} if not _agree(first.get(at, ABSENT), second.get(at, ABSENT), tolerance)
    )
    if not differ:
        return None
    update, name = differ[0]
    values = f"{first.get(differ[0], ABSENT)} recorded, {second.get(differ[0], ABSENT)} here"
    return f"{name} at update {update}: {values} ({len(differ)} of {len({**first, **second})} values differ)"


def _points(curves: Curves) -> dict[tuple[int, str], Any]:
    return {(step, name): value for name, points in curves.items() for step, value in points}


def _agree(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))
    return a == b


def _states(states: dict[str, Any]) -> str | None:
    """Return how the newest checkpoints differ, or None."""
    if states["damage"]:
        return f"the recorded checkpoint at update {states['steps'][0]} is damaged: {states['damage']}"
    if states["steps"][0] != states["steps"][1]:
        there, here = (ABSENT if step is None else f"update {step}" for step in states["steps"])
        return f"the newest checkpoint is {there} as recorded, {here} here"
    if states["leaves"]:
        return f"the state at update {states['steps'][0]} in {len(states['leaves'])} leaves: {_few(states['leaves'])}"
    return None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
