"""Run one cell of an ablation again, alone, and compare it with what is recorded.

python -m jaxlm.ablate.again CELL OUT

CELL: its run directory.    OUT: a new directory for the run (OUT/run) and for what was found (OUT/again.json).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.cell import code_parts
from jaxlm.ablate.lookup import experiment_file, read_whole
from jaxlm.ablate.parts import ROUNDING, differences
from jaxlm.ablate.record import Record, write_atomic
from jaxlm.ablate.unit import plan, run_cell
from jaxlm.errors import BadInput
from jaxlm.train.checkpoint import Checkpoints, digests
from jaxlm.train.compare import differing, host_leaves
from jaxlm.train.config import load_module
from jaxlm.train.main import complain, keep_compiled_programs
from jaxlm.train.run_directory import RunDirectory
from jaxlm.train.seal import verify
from jaxlm.train.serialise import digest, from_json

FOUND = "again.json"


def main() -> None:
    """The command line: exits with 2 and one line on bad input, with 1 where it did not run the cell."""
    parser = argparse.ArgumentParser(prog="python -m jaxlm.ablate.again", description=__doc__)
    parser.add_argument("cell", metavar="CELL", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--anyway", action="store_true", help="run it even if it is not the same experiment any more")
    words = parser.parse_args()
    keep_compiled_programs()
    try:
        found = again(words.cell, words.out, words.anyway)
    except BadInput as error:
        sys.exit(complain(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"run: {words.out / 'run'}" if found["record"] else f"not the same experiment: {found['differences']}")
    sys.exit(0 if found["record"] else 1)


def again(cell: Path, out: Path, anyway: bool = False) -> dict[str, Any]:
    """Run a cell again under `out`, unless more than packages and platform differ and `anyway` is not set.

    Returns, and writes to again.json: the parts of its identity that differ here, notes, the record of the new run
    (None where it did not run), and how the newest checkpoints compare. Raises BadInput for a broken record, an
    experiment that cannot be built here, and an `out` that is not new.
    """
    record = read_whole(cell)
    source, note = experiment_file(cell)
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} is not empty: give a new directory")
    out.mkdir(parents=True, exist_ok=True)
    build = load_module(source).build
    planned = plan(build, Arm(record["arm"]), recorded_config(cell, record), code_parts(source))
    found: dict[str, Any] = {"differences": differences(record["parts"], planned.parts), "note": note}
    found |= {"record": None, "states": None}
    if anyway or found["differences"].keys() <= ROUNDING:
        found["record"] = run_cell(build, planned, out / "run")
        found["states"] = compare_states(cell, out / "run")
    write_atomic(out / FOUND, json.dumps(found, indent=1) + "\n")
    return found


def recorded_config(cell: Path, record: Record) -> Any:
    """The config of a cell; of one that never began, as its record has it: without what no number depends on."""
    home = RunDirectory(cell)
    return home.config() if home.started else from_json(nested(record["parts"]["config"]))


def nested(fields: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`: {"model.depth": 4} -> {"model": {"depth": 4}}."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def compare_states(cell: Path, run: Path) -> dict[str, Any]:
    """The newest checkpoints of two runs: updates and SHA-256 of each, and the leaves that differ, by path.

    A run without a checkpoint has None; `damage` tells what is wrong with the recorded one, or is None.
    """
    there, here = Checkpoints(cell / "checkpoints"), Checkpoints(run / "checkpoints")
    steps = [max(found.steps(), default=None) for found in (there, here)]
    compared: dict[str, Any] = {"steps": steps, "digests": [None, None], "leaves": [], "damage": None}
    if steps[0] is not None:
        compared["damage"] = verify(there.directory / str(steps[0]))
    if steps[0] != steps[1] or steps[0] is None or compared["damage"]:
        return compared
    states = [found.restore_raw(steps[0]) for found in (there, here)]
    compared["digests"] = [digest(digests(state)) for state in states]
    if compared["digests"][0] != compared["digests"][1]:
        compared["leaves"] = differing(*map(host_leaves, states))
    return compared


if __name__ == "__main__":
    main()
