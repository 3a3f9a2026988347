"""The model card of an artefact: what it is, what it scored, where it comes from and how to use it."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.lineage import describe_fork, forked_from


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model.

    Attributes:
        name: of the run.
        step: updates of its checkpoint.
        task: the first line of its experiment's docstring.
        scores: of its evaluations at that checkpoint.
        origin: lines about where it comes from, by name.
        changes: what was done to it after the training, such as int8 weights.
        comparison: a table in Markdown of the model before and after that.
    """

    name: str
    step: int
    task: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    changes: Sequence[str] = ()
    comparison: str = ""


def facts_of_run(home: RunDirectory, step: int, task: str) -> ModelFacts:
    """Return the facts of a run at a checkpoint: its scores, command, commit, seed, data and packages."""
    lineage = home.lineage()
    session = lineage["sessions"][-1] if lineage["sessions"] else {}
    config, packages = home.config(), session.get("packages", {})
    evaluated = home.evaluation_at(step, {"eval", *(name.partition("/")[0] for name in [config.run.metric])})
    git = session.get("git") or {}
    origin = {
        "command": session.get("command", ""),
        "commit": git.get("commit", "") + (" with uncommitted changes" if git.get("diff") else ""),
        "seed": str(session.get("seed", config.run.seed)),
        "data": ", ".join(f"{name} {digest[:16]}" for name, digest in session.get("data", {}).items()),
        "trained with": ", ".join(f"{name} {packages[name]}" for name in ("jax", "flax", "optax") if name in packages),
        "machine": str(session.get("fingerprint", {}).get("chip", "")),
    }
    if forked := forked_from(lineage):
        origin["made from"] = describe_fork(forked)
    return ModelFacts(home.path.name, step, task, evaluated, {name: text for name, text in origin.items() if text})


def card(facts: ModelFacts, programs: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> str:
    """Return a model card in Markdown."""
    lines = [f"# {facts.name}", "", facts.task or "A model of jaxlm.", ""]
    if facts.changes:
        lines += ["After the training: " + "; ".join(facts.changes) + ".", "", facts.comparison, ""]
    if facts.scores:
        lines += [f"## Scores at update {facts.step}", "", "| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in facts.scores.items()] + [""]
    lines += ["## Use", "", "```python", "import jaxlm", "", 'model = jaxlm.load("PATH OF THIS FOLDER")']
    lines += ["answers = model([...])  # one answer an input; probes.json has inputs of the right form", "```", ""]
    lines += ["## Where it comes from", ""]
    lines += [f"- {name}: {' '.join(text.split())}" for name, text in facts.origin.items()]
    lines += [f"- written by jaxlm {importlib.metadata.version('jaxlm')} with jax {jax.__version__}", ""]
    lines += ["## Programs", "", "| file | a row | rows | platforms |", "|---|---|---|---|"]
    for program in programs:
        row = ", ".join(f"{name} {program['dtypes'][name]}[{dims}]" for name, dims in program["shapes"].items())
        lines.append(f"| {program['file']} | {row} | {program['batch'] or 'any'} | {', '.join(program['platforms'])} |")
    lines += ["", "## Files", "", "| file | SHA-256 |", "|---|---|"]
    lines += [f"| {name} | `{digest}` |" for name, digest in files.items()]
    return "\n".join(lines) + "\n"
