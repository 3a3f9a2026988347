"""Read the records of .csv, .tsv and .jsonl files."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxlm.data.readers.json_text import parse_object
from jaxlm.data.readers.text import BLANK, is_blank, read_text, to_lines
from jaxlm.errors import BadInput

SUFFIXES = (".csv", ".tsv", ".jsonl")
LONGEST = 1 << 30  # characters of a field of a table


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield for each record of a file the line it begins on, from 1, and its values by column.

    The first line of a .csv or .tsv file names its columns. A column without a name is left out: it is the index that
    pandas writes. A record that is too short lacks its last columns; one that is too long is an error. In a .csv file
    a value may be quoted; in a .tsv file a quotation mark has no special meaning. Each line of a .jsonl file is an
    object. Empty lines are left out.

    Raises:
        BadInput: the file cannot be read, has another ending, or a line is no record; names file and line.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(f"{path} ends in none of .csv, .tsv and .jsonl: convert it to one of them")
    text = read_text(path)
    return read_json_lines(path, text) if path.suffix == ".jsonl" else read_table_text(path, text)


def read_json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each line of JSON lines that is not empty, and its object.

    Raises:
        BadInput: a line is not a JSON object; names file and line.
    """
    for number, line in enumerate(to_lines(text), 1):
        if not is_blank(line):
            yield number, parse_object(line, f"{path} line {number}")


def read_table_text(
    path: Path, text: str, columns: Sequence[str] = (), skip: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the values by column of each record of a table, as `read_records` does.

    Args:
        path: of the table, for its ending and for messages; every ending but .tsv means commas.
        text: its text.
        columns: names of the columns of a table whose first line has none.
        skip: lines to leave out at the beginning.

    Raises:
        BadInput: a name twice, a record that is too long, or a quotation mark out of place; names file and line.
    """
    rows = _rows(path, "\n" * skip + "".join(text.split("\n", skip)[skip:]))
    line, header = (1, list(columns)) if columns else next(rows, (1, []))
    names = [name.strip(BLANK) for name in header]
    if twice := [name for place, name in enumerate(names) if name and name in names[:place]]:
        raise BadInput(f"{path} line {line}: two columns have the name {twice[0]!r}: rename one")
    for line, row in rows:
        if len(row) > len(names):
            fix = "take the tabs out of the texts" if path.suffix == ".tsv" else _QUOTE
            counted = "data.columns" if columns else "the header"
            raise BadInput(f"{path} line {line} has {len(row)} fields and {counted} {len(names)}: {fix}")
        if len(row) > 1 or len(names) == 1 or not is_blank(row[0]):
            yield line, {name: value for name, value in zip(names, row, strict=False) if name}


_QUOTE = "put quotation marks around a text with commas in it"


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each row of a table begins on, and its values; lines without a character are left out."""
    tabs = path.suffix == ".tsv"
    reader = csv.reader(
        io.StringIO(text),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    before = csv.field_size_limit(LONGEST)
    begin = 1
    try:
        for row in reader:
            if row:
                yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"{path} line {begin}: {error}: correct it") from None
    finally:
        csv.field_size_limit(before)


def to_text(value: Any, place: str, column: str) -> str:
    """Return a value of a record as text: a string as it is, a number or a truth value as JSON writes it.

    Raises:
        BadInput: null, a list or an object; names the place.
    """
    if value is None:
        raise BadInput(f"{place}: {column!r} is null: give a string or a number, or leave the line out")
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        raise BadInput(f"{place}: {column!r} is {kind}, not a text: give a string or a number")
    return value if isinstance(value, str) else json.dumps(value)
