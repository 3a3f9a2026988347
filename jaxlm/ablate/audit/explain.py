"""Explain where a number comes from: a cell of a table, or a run."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.ablate.audit.diff import PACKING, changes
from jaxlm.ablate.audit.find import (
    TABLE,
    Entry,
    TableJson,
    experiment_file,
    find,
    read_table,
    read_whole,
    recorded_config,
)
from jaxlm.ablate.record import RECORD, Record, final_points, value_of
from jaxlm.ablate.sources import Sources
from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.directory import CONFIG, LINEAGE, RunDirectory
from jaxlm.runs.lineage import describe_fork, fingerprint, jax_settings, packages
from jaxlm.runs.serialise import digest, from_json

Items = dict[str, list[str]]  # name -> lines of text


def explain_path(path: str | Path, cell: str | None = None) -> str:
    """Return, as aligned text, all that a number comes from.

    Args:
        path: the directory or table.json of an ablation, or a run directory, which may be that of a cell.
        cell: of the table.

    Raises:
        BadInput: names that are not there.
    """
    path = Path(path)
    if (path / CONFIG).is_file() or (path / RECORD).is_file():
        if cell is not None:
            raise BadInput(f"{path} is a run: leave {cell!r} out, or give the directory of the ablation")
        return aligned(_of_run(path))
    table, entries = read_table(path)
    if cell is None:
        raise BadInput(f"{path} is an ablation: name a cell of it, such as {entries[0].label}")
    return aligned(cell_items(table, entries, find(entries, cell)))


def _of_run(path: Path) -> Items:
    ablation = path.resolve().parent.parent
    if (path / RECORD).is_file() and (ablation / TABLE).is_file():
        table, entries = read_table(ablation)
        for entry in entries:
            if entry.folder.name == path.resolve().name:
                return cell_items(table, entries, entry)
    return run_items(RunDirectory.existing(path))


def cell_items(table: TableJson, entries: list[Entry], entry: Entry) -> Items:
    """Return what is known of a cell."""
    record = read_whole(entry.folder)
    parts, run_dir = record["parts"], RunDirectory(entry.folder)
    base = read_whole(find(entries, f"{entries[0].arm}:{entry.seed}").folder)
    source, note = experiment_file(entry.folder)
    words = f"{sys.executable} -m jaxlm.ablate.audit.rerun {shlex.quote(str(entry.folder))} OUT"
    here = Sources(source).parts(recorded_config(entry.folder, record))
    items = {
        "cell": [entry.label, f"identity {entry.identity}", str(entry.folder)],
        table["metric"]: value_lines(record, entry, table["metric"]),
        "arm": [shlex.join(entry.words) or "the base: no words"],
        "config": changes(base["parts"]["config"], parts["config"]) or ["as the base"],
        "seed": [str(entry.seed)],
        "rerun": [f"{words}", "trains it again in a new directory OUT"],
        "code": [_digested(parts["code"], "files"), *_compared(parts["code"], here["code"]), *([note] if note else [])],
        "packages": [_digested(parts["packages"], "packages"), *_compared(parts["packages"], here["packages"])],
        "data": _fields(parts.get("data", {})),
        "artefacts": _fields(parts.get("artefacts", {})),
        "start": [parts.get("init") or "nothing loaded: all parameters are drawn"],
        "settings": [*_fields(parts.get("settings", {})), *_compared(parts.get("settings", {}), jax_settings())],
        "platform": _platform(parts.get("platform", {}), parts["config"]),
        "packing": [parts.get(PACKING, "none: it could not be built")],
    }
    return items | checkpoint_items(run_dir) | session_items(run_dir)


def value_lines(record: Record, entry: Entry, metric: str) -> list[str]:
    """Return a cell's value, when it was measured, and whether the table has the same one."""
    value, why = value_of(record, metric)
    if value != entry.value:
        return [f"{value} as recorded, and {entry.value} in the table: one of them was changed"]
    if value is None:
        return [f"none: {why}"]
    steps = [step for step, found in record["curves"][metric] if found == value]
    return [f"{value} at update {steps[-1]}, of {len(record['curves'][metric])} records"]


def run_items(run_dir: RunDirectory) -> Items:
    """Return what is known of a run that belongs to no table."""
    sessions, config = run_dir.lineage()["sessions"], run_dir.config()
    first, last = sessions[0], sessions[-1]
    named, metric = Path(run_dir.lineage()["experiment"]), config.run.metric
    final = final_points(run_dir, config.run).get(metric)
    kept = run_dir.experiment.read_bytes()
    same = "gone" if not named.is_file() else "as it was" if named.read_bytes() == kept else "changed since"
    items = {
        "run": [str(run_dir.path)],
        metric: [f"{final[1]} at update {final[0]}" if final else "not measured yet"],
        "seed": [str(last["seed"])],
        "rerun": [first["command"], f"in {first['directory']}"],
        "code": [f"{named}: {same}", *([] if same == "as it was" else [f"its copy: {run_dir.experiment}"])],
        "packages": [_digested(last["packages"], "packages"), *_compared(last["packages"], packages())],
        "data": _fields(last["data"]),
        "start": [config.init.path or "nothing loaded: all parameters are drawn"],
        "platform": [*_fields(last["fingerprint"]), *_compared(last["fingerprint"], fingerprint(config.place.build()))],
    }
    return items | checkpoint_items(run_dir) | session_items(run_dir)


def checkpoint_items(run_dir: RunDirectory) -> Items:
    """Return the newest checkpoint and the SHA-256 of its state."""
    checkpoints = Checkpoints(run_dir.checkpoints)
    steps = checkpoints.steps()
    if not steps:
        return {"checkpoint": ["none"]}
    path = run_dir.checkpoints / str(steps[-1])
    if damage := checkpoints.damage(steps[-1]):
        return {"checkpoint": [str(path), f"damaged: {damage}"]}
    return {"checkpoint": [str(path), f"state {digest(digests(checkpoints.restore_raw(steps[-1])))}"]}


def session_items(run_dir: RunDirectory) -> Items:
    """Return when and where each session of a run was started, by which command, and from which commit."""
    lines = []
    for session in run_dir.lineage()["sessions"] if (run_dir.path / LINEAGE).is_file() else ():
        git = session["git"]
        commit = "no git checkout" if git is None else f"git {git['commit'][:12]}"
        dirty = ", with uncommitted changes" if git and (git["diff"] or git.get("untracked")) else ""
        if origin := session.get("forked"):
            lines.append(describe_fork(origin))
        lines += [f"{session['time']} in {session['directory']}, {commit}{dirty}", f"  {session['command']}"]
    return {"sessions": lines or ["none: it never began"]}


def aligned(items: Items) -> str:
    """Return the lines of all items as text, with their names in a column."""
    width = max(map(len, items))
    rows = [(name if first else "", line) for name, lines in items.items() for first, line in _marked(lines)]
    return "".join(f"{name:{width}}  {line}".rstrip() + "\n" for name, line in rows)


def _marked(lines: list[str]) -> list[tuple[bool, str]]:
    return [(number == 0, line) for number, line in enumerate(lines or ["none"])]


def _digested(part: Mapping[str, Any], of: str) -> str:
    return f"{digest(part)} over {len(part)} {of}"


def _compared(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [f"differs here: {change}" for change in changes(there, here)] or ["the same here"]


def _fields(part: Mapping[str, Any]) -> list[str]:
    width = max(map(len, part), default=0)
    return [f"{name:{width}}  {value if isinstance(value, str) else json.dumps(value)}" for name, value in part.items()]


def _platform(part: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the recorded fingerprint, and what of it differs on this machine."""
    if not part:
        return []
    place = from_json({name.partition(".")[2]: value for name, value in config.items() if name.startswith("place.")})
    try:
        return [*_fields(part), *_compared(part, fingerprint(place.build()))]
    except (BadInput, ValueError) as error:
        return [*_fields(part), f"its placement cannot be built here: {error}"]
