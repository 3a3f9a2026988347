"""Read JSON that other programs wrote, with limits on what a damaged or hostile file can cost."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

LARGEST = 100_000_000  # bytes, the limit that safetensors sets to a header


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file (a device or a pipe has no end), is too large, or `decode_json` refuses it.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST:,} bytes")
    return decode_json(path.read_bytes())


def decode_json(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: no JSON; a key twice in one object, which `json` and safetensors accept; NaN or infinity, which are
            not JSON; or nested deeper than the parser can follow.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    name, count = Counter(name for name, _ in pairs).most_common(1)[0] if pairs else ("", 1)
    if count > 1:
        raise ValueError(f"{name} is named twice")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
