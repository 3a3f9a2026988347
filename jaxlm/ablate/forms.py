"""The forms in which the table of an ablation is read: terminal text, CSV, Markdown, LaTeX."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Table = Mapping[str, Any]
Grid = list[list[str]]  # the first row is the header

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
LATEX |= {character: "\\" + character for character in "&%$#_{}"}
CLAIMS = {True: "yes", False: "no", None: "not claimed"}


def number(value: float | None) -> str:
    """A number to five significant digits, or a dash where there is none."""
    return "-" if value is None else f"{value:.5g}"


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval, or a dash."""
    return "-" if low is None else f"{number(low)} to {number(high)}"


def summary(table: Table) -> Grid:
    """Arm by arm, what its values say and how it compares with the base."""
    header = ["arm", "n", "failed", "mean", "std", "95 % interval", "difference", "95 % interval", "pairs", "p"]
    grid = [[*header, "Holm p", "significant", "P(better)"]]
    for row in table["arms"]:
        cells = [row["name"], str(row["n"]), str(len(row["failed"])), number(row["mean"]), number(row["std"])]
        cells.append(interval(row["low"], row["high"]))
        if found := row.get("against_base"):
            cells += [number(found["difference"]), interval(found["low"], found["high"]), str(found["pairs"])]
            cells += [number(found["p"]), number(found["holm_p"]), CLAIMS[found["significant"]]]
            cells.append(number(found["improvement"]))
        grid.append(cells + [""] * (len(grid[0]) - len(cells)))
    return grid


def by_seed(table: Table) -> Grid:
    """Arm by arm, the value of every seed; a cell without one says so."""
    rows = [[row["name"], *(_value(value) for value in row["values"])] for row in table["arms"]]
    return [["arm", *(f"seed {seed}" for seed in table["seeds"])], *rows]


def _value(value: float | None) -> str:
    return "failed" if value is None else number(value)


def notes(table: Table) -> list[str]:
    """The foot, and a line for each cell that failed."""
    lines = [
        f"{row['name']}, seed {cell['seed']}, failed: {cell['why']}" for row in table["arms"] for cell in row["failed"]
    ]
    return [*table["foot"], *lines]


def text(table: Table) -> str:
    """The table for a terminal."""
    title = f"{table['metric']} ({table['better']} is better)"
    return "\n".join([title, "", *aligned(summary(table)), "", *aligned(by_seed(table)), "", *notes(table), ""])


def aligned(grid: Grid) -> list[str]:
    """The rows as lines, with columns that are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid]


def as_csv(table: Table) -> str:
    """One line an arm, every number to ten digits, the values of the seeds last; what failed is empty."""
    own, paired = ["n", "mean", "std", "low", "high"], ["pairs", "difference", "low", "high", "p", "holm_p"]
    paired += ["significant", "improvement"]
    header = ["arm", "words", "failed", *own, *("difference_" * (name in own) + name for name in paired)]
    lines: list[list[Any]] = [[*header, *(f"seed_{seed}" for seed in table["seeds"])]]
    for row in table["arms"]:
        found = row.get("against_base", {})
        cells = [row["name"], " ".join(row["words"]), len(row["failed"]), *(row[name] for name in own)]
        lines.append([*cells, *(found.get(name) for name in paired), *row["values"]])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def markdown(table: Table) -> str:
    """Two tables and the notes as a list."""

    def escape(cell: str) -> str:
        return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", cell)

    def rows(grid: Grid) -> list[str]:
        body = ["| " + " | ".join(map(escape, row)) + " |" for row in grid]
        return [body[0], "|" + " --- |" * len(grid[0]), *body[1:]]

    title = f"**{escape(table['metric'])}** ({table['better']} is better)"
    listed = [f"- {escape(note)}" for note in notes(table)]
    return "\n".join([title, "", *rows(summary(table)), "", *rows(by_seed(table)), "", *listed, ""])


def latex(table: Table) -> str:
    r"""Two tabulars and the notes, to be \input; needs booktabs."""

    def escape(cell: str) -> str:
        return "".join(LATEX.get(character, character) for character in cell)

    def tabular(grid: Grid) -> list[str]:
        rows: Sequence[str] = [" & ".join(map(escape, row)) + r" \\" for row in grid]
        columns = "l" + "r" * (len(grid[0]) - 1)
        head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule"]
        return [*head, *rows[1:], r"\bottomrule", r"\end{tabular}"]

    title = f"% {table['metric']} ({table['better']} is better)"
    said = [escape(note) + r"\par" for note in notes(table)]
    return "\n".join([title, *tabular(summary(table)), "", *tabular(by_seed(table)), "", *said, ""])


FORMS: Mapping[str, Callable[[Table], str]] = {"txt": text, "csv": as_csv, "md": markdown, "tex": latex}
