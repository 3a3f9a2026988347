"""Read JSON as RFC 8259 defines it, so that what another program would read differently is refused."""

import json
from pathlib import Path
from typing import Any

from jaxlm.data.readers.text import read_text
from jaxlm.errors import BadInput


def read_json_file(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        BadInput: the file cannot be read, or is not JSON; names it.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, place: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON.
        place: file and line, for a message.

    Raises:
        BadInput: it is not JSON, has NaN, an infinity or a name twice, is nested too deep, or has half of a surrogate
            pair, which is no character; names the place.
    """
    try:
        found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise BadInput(f"{place} has {half!r}, half of a surrogate pair: write the whole character") from None
    except RecursionError:
        raise BadInput(f"{place} is JSON that is nested too deep: write it flatter") from None
    except ValueError as error:
        raise BadInput(f"{place} is not JSON ({error}): correct it") from None
    return found


def parse_object(text: str, place: str) -> dict[str, Any]:
    """Return the object of a line of JSON lines.

    Raises:
        BadInput: it is not a JSON object; names the place.
    """
    found = parse_json(text, place)
    if not isinstance(found, dict):
        raise BadInput(f"{place} is not a JSON object: write one, {{...}}, on each line")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"the name {twice!r} occurs twice")
    return found
