"""Read tables as pandas frames of cells: each cell is its text, or None where it has none.

Texts are parsed by the readers of `jaxlm.data.readers`, which know the line of a record and refuse one that is too
short or too long; pandas reads Parquet, and holds what was read.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.readers.records import read_json_lines, read_table_text
from jaxlm.data.readers.text import BLANK, read_text, to_lines
from jaxlm.errors import BadInput


def read_frame(path: Path, columns: Sequence[str] = (), skip: int = 0, markers: Sequence[str] = ("",)) -> Any:
    """Read a table of texts (.tsv, and commas with any other ending), JSON lines (.jsonl) or Parquet (.parquet).

    Args:
        path: of the file.
        columns: names of the columns of a text file whose first line has none.
        skip: lines to leave out at its beginning.
        markers: cells that mean that there is no value.

    Returns:
        A pandas frame of cells. Its index says where each row is: "line 2" of a text, "row 0" of a Parquet file.

    Raises:
        BadInput: the file cannot be read, has no rows, or a row has too few or too many cells; names file and line.
    """
    import pandas

    if skip < 0:
        raise BadInput(f"{skip} rows of {path} are to be skipped: give 0 or more")
    if path.suffix == ".parquet":
        frame = _read_parquet(path)
    else:
        text = read_text(path)
        json_lines = path.suffix == ".jsonl"
        found = list(read_json_lines(path, text) if json_lines else read_table_text(path, text, columns, skip))
        lines, rows = [line for line, _ in found], [row for _, row in found]
        _check_full(path, lines, rows)
        frame = pandas.DataFrame(rows, index=[f"line {line}" for line in lines], dtype=object)
    if not len(frame):
        raise BadInput(f"{path} has no rows: add some")
    cells = {str(name): to_cells(frame[name], f"{path}: {name!r}", markers) for name in frame.columns}
    return pandas.DataFrame(cells, index=frame.index, dtype=object)  # as texts pandas would turn None into NaN


def has_header(path: Path, skip: int, names: Sequence[str]) -> bool:
    """Return whether the first line of a text file after `skip` others names all of these columns."""
    if path.suffix in (".parquet", ".jsonl"):
        return True
    lines = to_lines(read_text(path))[skip : skip + 1]
    cells = lines[0].split("\t" if path.suffix == ".tsv" else ",") if lines else []
    return set(names) <= {cell.strip(BLANK + '"') for cell in cells}


def _check_full(path: Path, lines: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise BadInput where a row lacks columns that another one has."""
    names = dict.fromkeys(name for row in rows for name in row)
    for line, row in zip(lines, rows, strict=True):
        if len(row) < len(names):
            lacking = next(name for name in names if name not in row)
            raise BadInput(
                f"{path} line {line} has {len(row)} of {len(names)} cells, none for {lacking!r}: complete the row"
            )


def _read_parquet(path: Path) -> Any:
    import pandas

    if not path.is_file():
        raise BadInput(f"there is no file {path}: correct the name")
    try:
        frame = pandas.read_parquet(path)
    except ImportError:
        raise BadInput("reading Parquet needs pyarrow: pip install 'jaxlm[parquet]'") from None
    except Exception as error:  # pyarrow has errors of its own for every kind of damage
        reason = type(error).__name__
        raise BadInput(f"{path} is not a Parquet file that pyarrow reads ({reason}): write it again") from None
    return frame.set_axis([f"row {number}" for number in range(len(frame))])


def to_cells(values: Any, place: str, markers: Sequence[str]) -> np.ndarray:
    """Return values as cells, an array of texts and Nones.

    Args:
        values: texts, numbers, truth values, dates, or None and NaN for no value.
        place: for a message.
        markers: texts that mean no value.

    Raises:
        BadInput: a list or an object.
    """
    cells = np.empty(len(values), object)
    cells[:] = [to_cell(value, place, markers) for value in values]
    return cells


def to_cell(value: Any, place: str, markers: Sequence[str]) -> str | None:
    """Return a value as a text without white space around it, or None where there is none.

    A float becomes the shortest text that gives the same float again; a date becomes one of ISO 8601.
    """
    if isinstance(value, str):
        text = value.strip(BLANK)
        return None if text in markers else text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, datetime.date):
        text = value.isoformat()
        return None if text == "NaT" else text
    if isinstance(value, int | float | np.number):
        return repr(value.item() if isinstance(value, np.number) else value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    raise BadInput(f"{place} has a {type(value).__name__}: give a number, a text, a truth value, a date or nothing")


def require_columns(path: Any, frame: Any, names: Sequence[str]) -> None:
    """Raise BadInput unless a frame has columns with these names."""
    if lacking := [name for name in names if name not in frame.columns]:
        has = ", ".join(map(str, frame.columns))
        raise BadInput(f"{path} has no column {', '.join(map(repr, lacking))} (it has {has}): add it, or name another")
