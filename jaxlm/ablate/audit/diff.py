"""Compare the identities of two cells part by part."""

import json
import re
from collections.abc import Mapping
from typing import Any

from jaxlm.runs.serialise import flatten

PACKING = "packing"  # how a run was made and not what it computes: a run alone can be compared with any
ROUNDING = frozenset({"packages", "platform"})  # parts that may move the last digits of the same experiment
DIGEST = re.compile(r"[0-9a-f]{64}")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what differs in each part, without the packing: {"config": ["optim.peak_lr 0.01 -> 0.001"]}."""
    names = [name for name in {**there, **here} if name != PACKING and there.get(name) != here.get(name)]
    return {name: _changes_of_part(name, there, here) for name in names}


def _changes_of_part(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    if name in there and name in here:
        return changes(there[name], here[name])
    return ["only in the record" if name in there else "only in the cell as it is here"]


def changes(there: Any, here: Any) -> list[str]:
    """Return each field that differs between two JSON values as "field there -> here"; without values for digests."""
    before, after = flatten(there), flatten(here)
    found = []
    for name in {**before, **after}:
        if name not in after:
            found.append(f"{name} is not here")
        elif name not in before:
            found.append(f"{name} is new here")
        elif before[name] != after[name]:
            digests = all(DIGEST.fullmatch(str(value)) for value in (before[name], after[name]))
            values = "" if digests else f"{json.dumps(before[name])} -> {json.dumps(after[name])}"
            found.append(f"{name} {values}".strip())
    return found
