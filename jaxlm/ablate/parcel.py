"""A unit on its way to another process: packed by the driver, performed by a worker, and what became of it."""

import inspect
import os
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from jaxlm.ablate.arms import Arm
from jaxlm.ablate.cell import Cell, code_parts
from jaxlm.ablate.record import Record
from jaxlm.ablate.unit import Unit, plan, run_unit
from jaxlm.errors import BadInput
from jaxlm.train.checkpoint import reason
from jaxlm.train.config import load_module
from jaxlm.train.experiment import Build
from jaxlm.train.main import keep_compiled_programs
from jaxlm.train.serialise import flatten, from_json, to_json

Parcel = dict[str, Any]
Outcome = tuple[str, Any]  # ("records", list of them), ("refused", one line) or ("broken", a traceback)
SHOWN = 5  # differences that a refusal names


def pack(build: Build, unit: Unit, home: Path) -> Parcel:
    """A unit as plain values, which name the experiment file and the working directory.

    Raises BadInput for a `build` that another process cannot find: it must stand at the top of its file.
    """
    if "." in build.__qualname__:
        raise BadInput(f"{build.__qualname__} cannot be found by another process: define it at the top of a file")
    cells = [(cell.arm, cell.seed, to_json(cell.config), cell.parts, cell.packing) for cell in unit]
    return {
        "folder": os.getcwd(),
        "experiment": inspect.getfile(build),
        "build": build.__name__,
        "home": str(home),
        "cells": cells,
    }


def perform(parcel: Parcel) -> Outcome:
    """Run a unit in this process. Nothing but a signal (KeyboardInterrupt) is raised here."""
    try:
        os.chdir(parcel["folder"])
        build, code = _loaded(parcel["experiment"], parcel["build"])
        unit = [Cell(arm, seed, from_json(config), *rest) for arm, seed, config, *rest in parcel["cells"]]
        for cell in unit:
            check_as_planned(cell, plan(build, Arm(cell.arm), cell.config, code, cell.packing))
        made: dict[tuple[str, int], Record] = {}
        for part, records in run_unit(build, unit, Path(parcel["home"])):
            made |= {(cell.arm, cell.seed): record for cell, record in zip(part, records, strict=True)}
        return "records", [made[cell.arm, cell.seed] for cell in unit]
    except BadInput as error:
        return "refused", str(error)
    except OSError as error:
        return "refused", f"{reason(error)} ({error.filename or parcel['home']}): mend that and run the command again"
    except Exception:
        return "broken", traceback.format_exc()


@cache
def _loaded(experiment: str, name: str) -> tuple[Build, dict[str, Any]]:
    """The build function of an experiment file and the code that it is made of, as this process has it."""
    keep_compiled_programs()
    code = code_parts(experiment)
    return getattr(load_module(experiment), name), code


def check_as_planned(cell: Cell, here: Cell) -> None:
    """Raise BadInput where a cell has another identity in this process than in the one that planned it.

    Its numbers would be those of another machine, or of other code or data, under the identity of this one.
    """
    if here.identity == cell.identity:
        return
    there, now = flatten(cell.parts), flatten(here.parts)
    names = [name for name in sorted(there.keys() | now.keys()) if there.get(name) != now.get(name)]
    told = [f"{name} {there.get(name)} planned, {now.get(name)} in the worker" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    raise BadInput(
        f"{cell.arm}, seed {cell.seed}, is planned for what its worker is not ({'; '.join([*told, *more])}): "
        "let both have the same machine, environment, code and data"
    )


def records_of(outcome: Outcome) -> list[Record]:
    """The records of an outcome; BadInput where the worker refused, RuntimeError where it broke."""
    kind, value = outcome
    if kind == "refused":
        raise BadInput(value)
    if kind == "broken":
        raise RuntimeError(f"an error in a worker\n{value}")
    return value
