"""The page of an ablation: one HTML file with its tables, its figures and every cell, which needs no other file.

It is a function of the table, the records and the command line, with no time and no place in it.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from jaxlm.ablate.arms import BASE
from jaxlm.ablate.cell import cell_name
from jaxlm.ablate.figures import figures
from jaxlm.ablate.forms import Grid, Table, by_seed, notes, number, summary
from jaxlm.ablate.markup import element, html
from jaxlm.ablate.record import Record
from jaxlm.train.serialise import digest

Records = Mapping[tuple[str, int], Record]

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --faint: #595959; --rule: #c9c9c9;
  --link: #0b5394; --bad: #a31515 }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #ececec; --faint: #adadad; --rule: #45484d; --link: #8ec7ff; --bad: #ff9a8f }
}
* { box-sizing: border-box }
body { max-width: 80rem; margin: 0 auto; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere }
h1 small { font-weight: normal; color: var(--faint) }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere }
a { color: var(--link) }
.wide { overflow-x: auto; margin-bottom: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap }
thead th { vertical-align: bottom }
th:first-child { text-align: left; white-space: normal; overflow-wrap: break-word; max-width: 24rem; min-width: 8rem }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem }
figure { margin: 0; max-width: 34rem; break-inside: avoid }
figure h3 { margin: 0 0 .5rem }
figure svg { display: block; width: 100%; height: auto }
.arm text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round }
figcaption, .notes { font-size: .9rem; color: var(--faint) }
.notes { padding-left: 1.2rem; max-width: 60rem; overflow-wrap: anywhere }
.bad, .bad a { color: var(--bad) }
details { border-bottom: 1px solid var(--rule) }
summary { padding: .3rem 0; cursor: pointer; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .25rem 1rem;
  margin: .3rem 0 1rem 1.1rem; font-size: .9rem; scroll-margin-top: 3rem }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
dd ul { margin: 0; padding: 0; list-style: none }
code { font-family: ui-monospace, monospace; font-size: .95em }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .4rem } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt }
  .wide { overflow: visible }
  table { font-size: 7.5pt }
  th, td { padding-right: .3rem }
  .figures { grid-template-columns: 1fr 1fr }
  tr, dl { break-inside: avoid }
}
"""
PRINT = """
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((cell) => (cell.open = true)))
"""


def page(table: Table, records: Records, command: Sequence[str]) -> str:
    """The page as HTML.

    records: by arm and seed, one for each cell of the table.    command: the words of a command line that trains the
    base; where it is empty, a cell tells its override words alone.
    """
    better = f"({table['better']} is better)"
    head = [element("meta", charset="utf-8"), element("title", f"{table['metric']} {better}")]
    head.append(element("meta", name="viewport", content="width=device-width, initial-scale=1"))
    head += [element("style", STYLE), element("script", PRINT)]
    body = [element("h1", table["metric"], " ", element("small", better)), *_tables(table, records)]
    body += [element("h2", "Figures"), element("div", *figures(table, records), class_="figures")]
    body += [element("h2", "Cells"), *_cells(table, records, command)]
    return html(element("html", element("head", *head), element("body", element("main", *body)), lang="en"))


def _name(record: Record) -> str:
    return cell_name(record["arm"], record["seed"], record["identity"])


def _tables(table: Table, records: Records) -> list[Element]:
    links = [[f"#{_name(records[row['name'], seed])}" for seed in table["seeds"]] for row in table["arms"]]
    compared = _grid("Every arm, and how it compares with the base", summary(table))
    listed = element("ul", *(element("li", note) for note in notes(table)), class_="notes")
    return [element("h2", "Table"), compared, _grid("The value of every cell", by_seed(table), links), listed]


def _grid(caption: str, grid: Grid, links: Sequence[Sequence[str]] = ()) -> Element:
    """A table whose first row and column are headers; `links` are where its other cells lead."""
    head = element("tr", *(element("th", text, scope="col") for text in grid[0]))
    rows = []
    for index, (name, *texts) in enumerate(grid[1:]):
        cells = [element("td", text) for text in texts]
        if links:
            cells = [_link(text, link) for text, link in zip(texts, links[index], strict=True)]
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    made = element("table", element("caption", caption), element("thead", head), element("tbody", *rows))
    return element("div", made, class_="wide", role="region", tabindex=0, aria_label=caption)


def _link(text: str, link: str) -> Element:
    return element("td", element("a", text, href=link), class_="bad" if text == "failed" else "done")


def _cells(table: Table, records: Records, command: Sequence[str]) -> list[Element]:
    """For each arm a heading and a section for each of its cells."""
    parts = []
    for row in table["arms"]:
        parts.append(element("h3", row["name"]))
        why = {cell["seed"]: cell["why"] for cell in row["failed"]}
        for seed, value in zip(table["seeds"], row["values"], strict=True):
            record, base = records[row["name"], seed], records[BASE, seed]
            status = element("span", f"failed: {why[seed]}", class_="bad") if seed in why else number(value)
            words = [*command, *row["words"], "--run.seed", str(seed)]
            told = _facts(record, base, why.get(seed), "command" if command else "override words", shlex.join(words))
            parts.append(element("details", element("summary", f"{row['name']}, seed {seed}: ", status), told))
    return parts


def _facts(record: Record, base: Record, why: str | None, term: str, words: str) -> Element:
    """What a cell is: how it ended, what it changes, its files, how to train it alone, and what it depends on."""
    name, parts = _name(record), record["parts"]
    run = element("a", "run directory", href=f"cells/{name}/")
    log = element("a", "log", href=f"cells/{name}.log")
    facts: list[tuple[str, Sequence[Element | str]]] = [
        ("arm", [record["arm"]]),
        ("seed", [str(record["seed"])]),
        ("status", ["done" if why is None else f"failed: {why}"]),
        ("changes", _changes(parts["config"], base["parts"]["config"])),
        ("files", [run, ", ", log]),
        (f"{term}, to train it alone", [element("code", words)]),
        ("identity", [element("code", record["identity"])]),
    ]
    facts += [(term, [element("code", said)]) for term, said in _lineage(parts)]
    listed = [item for term, said in facts for item in (element("dt", term), element("dd", *said))]
    return element("dl", *listed, id=name)


def _changes(config: Mapping[str, Any], base: Mapping[str, Any]) -> list[Element | str]:
    """The fields in which a config differs from that of the base at the same seed."""
    names = [name for name in sorted(config.keys() | base.keys()) if config.get(name) != base.get(name)]
    shown = [(name, *(json.dumps(side[name]) if name in side else "none" for side in (base, config))) for name in names]
    items = [element("li", element("code", f"{name}: {before} \u2192 {after}")) for name, before, after in shown]
    return [element("ul", *items)] if items else ["none: this is the base"]


def _lineage(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the numbers of a cell depend on beside its config; an arm that could not be built has less."""
    facts = [(name, str(value) or "none") for name, value in sorted(parts.get("platform", {}).items())]
    facts += [(f"{name} data", value) for name, value in sorted(parts.get("data", {}).items(), reverse=True)]
    facts += [(f"{name} digest", value) for name, value in sorted(parts.get("artefacts", {}).items())]
    facts += [("start", parts["start"])] if parts.get("start") else []
    facts += [(f"{name} digest", digest(parts[name])) for name in ("code", "packages")]
    return [*facts, ("packing", parts.get("packing", "none"))]
