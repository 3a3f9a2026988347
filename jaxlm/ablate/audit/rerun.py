"""Run one cell of an ablation again and compare it with what is recorded.

python -m jaxlm.ablate.audit.rerun CELL OUT

CELL is its run directory, OUT a new directory for the run (OUT/run) and for what was found (OUT/rerun.json).
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.audit.diff import ROUNDING, differences
from jaxlm.ablate.audit.find import experiment_file, read_whole, recorded_config
from jaxlm.ablate.cell import VMAPPED, Cell
from jaxlm.ablate.execute.plan import plan
from jaxlm.ablate.execute.runner import run_cell
from jaxlm.ablate.record import Record, write_record
from jaxlm.ablate.sources import Sources
from jaxlm.errors import BadInput
from jaxlm.interrupt import exit_code
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import differing, digests, host_leaves
from jaxlm.runs.directory import LINEAGE, RunDirectory
from jaxlm.runs.files import write_atomic
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import digest
from jaxlm.train.experiment import Build
from jaxlm.train.main import keep_compiled_programs, print_error
from jaxlm.train.packs.pack import train_pack
from jaxlm.train.packs.program import share_compilation

FOUND = "rerun.json"


def run_command() -> None:
    """Run the command line; exit with 2 and one line on bad input, with 1 where the cell was not run."""
    parser = argparse.ArgumentParser(prog="python -m jaxlm.ablate.audit.rerun", description=__doc__)
    parser.add_argument("cell", metavar="CELL", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--anyway", action="store_true", help="run it even if it is not the same experiment any more")
    args = parser.parse_args()
    keep_compiled_programs()
    try:
        found = rerun(args.cell, args.out, args.anyway)
    except BadInput as error:
        sys.exit(print_error(error))
    except KeyboardInterrupt as stopped:
        sys.exit(exit_code(stopped))
    print(f"run: {args.out / 'run'}" if found["record"] else f"not the same experiment: {found['differences']}")
    sys.exit(0 if found["record"] else 1)


def rerun(cell: Path, out: Path, anyway: bool = False) -> dict[str, Any]:
    """Run a cell again.

    Args:
        cell: its run directory.
        out: a new directory.
        anyway: run it even if more than packages and platform differ here.

    Returns:
        What is also written to rerun.json: "differences", the parts of its identity that differ here; "note", a line on
        its experiment file; "record" of the new run, None where it did not run; "states", see `compare_states`;
        "same_packs", whether all its sessions were vmapped with as many runs as the new one.

    Raises:
        BadInput: a broken record, an experiment that cannot be built here, or an `out` that is not new.
    """
    record = read_whole(cell)
    source, note = experiment_file(cell)
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} is not empty: give a new directory")
    out.mkdir(parents=True, exist_ok=True)
    build = load_module(source).build
    planned = plan(build, Arm(record["arm"]), recorded_config(cell, record), Sources(source))
    found: dict[str, Any] = {"differences": differences(record["parts"], planned.parts), "note": note}
    found |= {"record": None, "states": None, "same_packs": True}
    if anyway or found["differences"].keys() <= ROUNDING:
        packs = packs_of(cell)
        found["record"] = train_as_in(packs[-1] if packs else None, build, planned, out / "run")
        found["states"] = compare_states(cell, out / "run")
        found["same_packs"] = len(set(packs)) <= 1
    write_atomic(out / FOUND, json.dumps(found, indent=1) + "\n")
    return found


def packs_of(cell: Path) -> list[tuple[int, int] | None]:
    """Return for each session of a run how many runs it was vmapped with and which of them it was; None for alone."""
    sessions = RunDirectory(cell).lineage()["sessions"] if (cell / LINEAGE).is_file() else []
    return [(session["runs"], session["run"]) if session.get("packing") == VMAPPED else None for session in sessions]


def train_as_in(pack: tuple[int, int] | None, build: Build, cell: Cell, run: Path) -> Record:
    """Train a cell in a new directory, alone or vmapped.

    Vmapped runs do not read each other's numbers, but their rounding depends on how many they are and on the place of
    each. So copies of the run stand in for the others.

    Args:
        pack: how many runs were vmapped, and which of them this one was.
        build: composes the run.
        cell: the cell.
        run: the new run directory; those of the copies are next to it.
    """
    if pack is None:
        return run_cell(build, cell, run)
    runs, number = pack
    folders = [run if other == number else run.with_name(f"copy{other}") for other in range(runs)]
    logs = [io.StringIO() for _ in folders]
    failed = train_pack(share_compilation(build), "vmapped", [cell.config] * runs, folders, logs)
    return write_record(run, cell, failed[number])


def compare_states(cell: Path, run: Path) -> dict[str, Any]:
    """Compare the newest checkpoints of two runs.

    Returns:
        "steps" and "digests", the update and the SHA-256 of each, None for a run without one; "leaves", the paths of
        those that differ; "damage", what is wrong with the recorded checkpoint, or None.
    """
    there, here = Checkpoints(cell / "checkpoints"), Checkpoints(run / "checkpoints")
    steps = [max(found.steps(), default=None) for found in (there, here)]
    compared: dict[str, Any] = {"steps": steps, "digests": [None, None], "leaves": [], "damage": None}
    if steps[0] is not None:
        compared["damage"] = there.damage(steps[0])
    if steps[0] != steps[1] or steps[0] is None or compared["damage"]:
        return compared
    states = [found.restore_raw(steps[0]) for found in (there, here)]
    compared["digests"] = [digest(digests(state)) for state in states]
    if compared["digests"][0] != compared["digests"][1]:
        compared["leaves"] = differing(*map(host_leaves, states))
    return compared


if __name__ == "__main__":
    run_command()
