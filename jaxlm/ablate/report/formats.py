"""The table of an ablation as terminal text, CSV, Markdown and LaTeX. The home of tabulate."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tabulate import LATEX_ESCAPE_RULES, tabulate

TableData = Mapping[str, Any]
Grid = list[list[str]]  # the first row is the header

CLAIMS = {True: "yes", False: "no", None: "not claimed"}


def number(value: float | None) -> str:
    """Format a number to five significant digits, None as a dash."""
    return "-" if value is None else f"{value:.5g}"


def interval(low: float | None, high: float | None) -> str:
    """Format the ends of an interval, None as a dash."""
    return "-" if low is None else f"{number(low)} to {number(high)}"


def printable(text: str) -> str:
    """Return a text as one line without control characters or lone surrogates, which no format can hold."""
    return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))


def summary(table: TableData) -> Grid:
    """Return for each arm its mean and interval, and how it compares with the base."""
    header = ["arm", "n", "failed", "mean", "std", "95 % interval", "difference", "95 % interval", "pairs", "p"]
    grid = [[*header, "Holm p", "significant", "P(better)"]]
    for row in table["arms"]:
        cells = [printable(row["name"]), str(row["n"]), str(len(row["failed"])), number(row["mean"])]
        cells += [number(row["std"]), interval(row["low"], row["high"])]
        if found := row.get("against_base"):
            cells += [number(found["difference"]), interval(found["low"], found["high"]), str(found["pairs"])]
            cells += [number(found["p"]), number(found["holm_p"]), CLAIMS[found["significant"]]]
            cells.append(number(found["improvement"]))
        grid.append(cells + [""] * (len(grid[0]) - len(cells)))
    return grid


def by_seed(table: TableData) -> Grid:
    """Return for each arm the value of every seed, or "failed"."""
    rows = [[printable(row["name"]), *map(_value, row["values"])] for row in table["arms"]]
    return [["arm", *(f"seed {seed}" for seed in table["seeds"])], *rows]


def _value(value: float | None) -> str:
    return "failed" if value is None else number(value)


def notes(table: TableData) -> list[str]:
    """Return what a reader must know, and a line for each cell that failed."""
    failed = [(row["name"], cell) for row in table["arms"] for cell in row["failed"]]
    lines = [f"{name}, seed {cell['seed']}, failed: {cell['why']}" for name, cell in failed]
    return [*map(printable, [*table["foot"], *lines])]


def format_grid(grid: Grid, style: str | None = None) -> str:
    """Return a grid as text, the first column on the left and the others on the right.

    Args:
        grid: Rows of equal length, the first of which is the header.
        style: A format of tabulate that marks the header, or None for columns alone.
    """
    sides = ("left", *["right"] * (len(grid[0]) - 1))
    if style is None:
        return tabulate(grid, tablefmt="plain", disable_numparse=True, colalign=sides)
    return tabulate(grid[1:], headers=grid[0], tablefmt=style, disable_numparse=True, colalign=sides)


def as_text(table: TableData) -> str:
    """Return the table for a terminal."""
    title = f"{table['metric']} ({table['better']} is better)"
    return "\n".join([title, "", format_grid(summary(table)), "", format_grid(by_seed(table)), "", *notes(table), ""])


def as_csv(table: TableData) -> str:
    """Return one line for each arm, every number to ten digits, the values of the seeds last; what failed is empty."""
    own, paired = ["n", "mean", "std", "low", "high"], ["pairs", "difference", "low", "high", "p", "holm_p"]
    paired += ["significant", "improvement"]
    header = ["arm", "words", "failed", *own, *("difference_" * (name in own) + name for name in paired)]
    lines: list[list[Any]] = [[*header, *(f"seed_{seed}" for seed in table["seeds"])]]
    for row in table["arms"]:
        found = row.get("against_base", {})
        cells = [row["name"], " ".join(row["words"]), len(row["failed"]), *(row[name] for name in own)]
        lines.append([*cells, *(found.get(name) for name in paired), *row["values"]])
    return csv_text(lines)


def csv_text(lines: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV with line feeds."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def as_markdown(table: TableData) -> str:
    """Return two tables for GitHub and the notes as a list."""

    def escape(cell: str) -> str:
        return re.sub(r"([\\|*_<>&`~$\[\]])", r"\\\1", cell)

    grids = [format_grid([[*map(escape, row)] for row in grid], "pipe") for grid in (summary(table), by_seed(table))]
    title = f"**{escape(table['metric'])}** ({table['better']} is better)"
    return "\n\n".join([title, *grids, "\n".join(f"- {escape(note)}" for note in notes(table))]) + "\n"


def as_latex(table: TableData) -> str:
    r"""Return two tabulars and the notes, to be \input; needs the package booktabs."""

    def escape(note: str) -> str:
        return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in note)

    title = f"% {table['metric']} ({table['better']} is better)"
    grids = [f"{format_grid(grid, 'latex_booktabs')}\n" for grid in (summary(table), by_seed(table))]
    return "\n".join([title, *grids, *(escape(note) + r"\par" for note in notes(table)), ""])


FORMATS: Mapping[str, Callable[[TableData], str]] = {"txt": as_text, "csv": as_csv, "md": as_markdown, "tex": as_latex}
