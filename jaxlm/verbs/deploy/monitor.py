"""`jaxlm monitor`: whether a service is asked, and answers, what it was when its model was exported."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from tabulate import tabulate

from jaxlm.drift.distance import FEWEST, LARGE, LEVEL, SMALL, Drift
from jaxlm.errors import BadInput
from jaxlm.verbs.deploy.serve import TOKENS


def monitor(words: argparse.Namespace) -> int:
    """Print for each feature of inputs and answers how far it is from the export, and what that means."""
    try:
        from jaxlm.serve.operate.monitor import of_predictions, of_service
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install 'jaxlm[serve]'") from None

    if words.window < 1:
        raise BadInput(f"--window is {words.window}: it must be at least 1")
    if words.source.startswith(("http://", "https://")):
        if words.artefact is not None:
            raise BadInput("a service compares with its own artefact: leave --artefact out")
        found = of_service(words.source, (os.environ.get(TOKENS) or "").split(",")[0].strip() or None)
        found = {name: findings for name, findings in found.items() if words.model in (None, name)}
    else:
        if words.artefact is None:
            raise BadInput("a database says nothing of the export: give --artefact DIR to compare with")
        if "://" not in words.source and not Path(words.source).expanduser().is_file():
            raise BadInput(f"there is no {words.source}: give the address of a service, or its --feedback database")
        artefact = Path(words.artefact)
        findings, broken = of_predictions(words.source, artefact, words.model, words.window)
        found = {words.model or artefact.name: findings}
        if broken:
            print(f"left out: {broken} kept inputs that {artefact} does not read", file=sys.stderr)
    if words.json:
        print(json.dumps({name: [dataclasses.asdict(one) for one in findings] for name, findings in found.items()}))
        return 0
    if not any(found.values()):
        print("nothing to compare: no model here was exported with sketches of its data, or none was asked yet")
        return 0
    for name, findings in found.items():
        print(f"{name}\n{_table(findings)}\n")
    print(
        f"drift: PSI of at least {LARGE} and p below {LEVEL} over the number of features; moved: the same with {SMALL};"
        f" few: below {FEWEST} values"
    )
    return 0


def _table(findings: list[Drift]) -> str:
    rows: list[list[Any]] = []
    for one in findings:
        ks = "" if one.ks is None else f"{one.ks:.3f}"
        rows.append([one.feature, one.values, f"{one.psi:.3f}", ks, f"{one.p:.2g}", one.verdict])
    return tabulate(rows, ["feature", "values", "PSI", "KS", "p", "verdict"], disable_numparse=True)
