"""The page of an ablation: one HTML file with its tables, its figures and every cell, which needs no other file.

It is a function of the table, the records and the command line, with no time and no place in it.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jaxlm.ablate.arms import BASE, typed
from jaxlm.ablate.cell import cell_name
from jaxlm.ablate.record import Record
from jaxlm.ablate.report.formats import TableData, by_seed, notes, number, printable, summary
from jaxlm.ablate.report.plots import Records, render
from jaxlm.runs.serialise import digest

Facts = dict[str, str]  # by the term that a reader looks for


def page(table: TableData, records: Records, command: Sequence[str]) -> str:
    """Return the page as HTML, in ASCII so that its bytes depend on no locale.

    Args:
        table: What `ablation_table` returned.
        records: The record of every cell, by arm and seed.
        command: The words of a command line that trains the base, to which each cell adds its own; where it is empty, a
            cell tells its override words alone.
    """
    loader = PackageLoader("jaxlm.ablate.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    cells = {(arm, seed): cell_name(arm, seed, record["identity"]) for (arm, seed), record in records.items()}
    keys = [(row["name"], seed) for row in table["arms"] for seed in table["seeds"]]
    facts = {key: _provenance(records[key]["parts"]) for key in keys}
    shared = _common(list(facts.values()))
    configs = [_settings(records[BASE, seed]) for seed in table["seeds"]]
    text = environment.get_template("page.html").render(
        table=table,
        summary=summary(table),
        by_seed=by_seed(table),
        notes=notes(table),
        cells=cells,
        figures=render(table, records, cells),
        command=shlex.join(command),
        base=_common(configs),
        shared=shared,
        arms=[_arm(row, table["seeds"], records, command, facts, shared) for row in table["arms"]],
    )
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _arm(
    row: Mapping[str, Any],
    seeds: Sequence[int],
    records: Records,
    command: Sequence[str],
    facts: Mapping[tuple[str, int], Facts],
    shared: Facts,
) -> dict[str, Any]:
    """Return what the page says of an arm: the fields it changes, and how each cell ended and can be repeated."""
    why = {cell["seed"]: printable(cell["why"]) for cell in row["failed"]}
    own, base = _settings(records[row["name"], seeds[0]]), _settings(records[BASE, seeds[0]])
    names = [name for name in sorted(own | base) if own.get(name) != base.get(name)]
    warmup = records[row["name"], seeds[0]]["parts"]["config"].get("optim.warmup")
    cells = [
        {
            "seed": seed,
            "value": number(value),
            "why": why.get(seed),
            "command": shlex.join([*typed([*command, *row["words"]], warmup), "--run.seed", str(seed)]),
            "identity": records[row["name"], seed]["identity"],
            "facts": {term: fact for term, fact in facts[row["name"], seed].items() if shared.get(term) != fact},
        }
        for seed, value in zip(seeds, row["values"], strict=True)
    ]
    changes = [(name, base.get(name, "none"), own.get(name, "none")) for name in names]
    return {"name": row["name"], "label": printable(row["name"]), "changes": changes, "cells": cells}


def _settings(record: Record) -> Facts:
    """Return the fields of a cell's config as JSON, by dotted path."""
    fields = record["parts"]["config"].items()
    return {name: printable(json.dumps(value, ensure_ascii=False)) for name, value in sorted(fields)}


def _common(several: Sequence[Facts]) -> Facts:
    """Return the facts that are the same wherever they are known: a cell that could not be built has fewer."""
    known = {term: {facts[term] for facts in several if term in facts} for facts in several for term in facts}
    return {term: min(values) for term, values in known.items() if len(values) == 1}


def _provenance(parts: Mapping[str, Any]) -> Facts:
    """Return what the numbers of a cell depend on besides its config; an arm that could not be built has less."""
    facts = {name: str(value) or "none" for name, value in sorted(parts.get("platform", {}).items())}
    facts |= {f"{name} data": value for name, value in sorted(parts.get("data", {}).items(), reverse=True)}
    facts |= {f"{name} digest": value for name, value in sorted(parts.get("artefacts", {}).items())}
    facts |= {"initial weights": parts["init"]} if parts.get("init") else {}
    facts |= {f"{name} digest": digest(parts[name]) for name in ("code", "packages")}
    return {**facts, "packing": parts["packing"]} if "packing" in parts else facts
