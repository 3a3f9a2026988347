"""Configs as JSON and back: a config is nested dataclasses of plain values, and a Linen module is a dataclass."""

import dataclasses
import hashlib
import importlib
import json
from typing import Any

from jaxlm.errors import BadInput

TYPE = "type"
LINEN_FIELDS = {"parent", "name"}  # what Linen adds to a module


def to_json(value: Any) -> Any:
    """Dataclasses become objects with their import path under "type"; tuples become lists.

    Raises TypeError for a value that is neither a dataclass nor plain.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {name: to_json(getattr(value, name)) for name in own_fields(cls)}
        return {TYPE: f"{cls.__module__}:{cls.__qualname__}"} | fields
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a config holds plain values and dataclasses, and not {type(value).__name__}: {value!r}")


def from_json(value: Any) -> Any:
    """The inverse of `to_json`; lists come back as tuples. Only dataclasses are ever constructed."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    module, _, name = value[TYPE].partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"the config names {value[TYPE]}, which cannot be imported here: {error}") from None
    if not dataclasses.is_dataclass(cls):
        raise BadInput(f"the config names {value[TYPE]}, which is not a dataclass")
    surplus = sorted(set(value) - set(own_fields(cls)) - {TYPE})
    if surplus:
        raise BadInput(f"the config gives {value[TYPE]} the fields {', '.join(surplus)}, which it does not have")
    return cls(**{key: from_json(item) for key, item in value.items() if key != TYPE})  # type: ignore[operator]


def own_fields(cls: Any) -> list[str]:
    """The fields that the author of a dataclass declared, without those that Linen adds."""
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    return [name for name in names if name not in LINEN_FIELDS] if set(names) >= LINEN_FIELDS else names


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a JSON config by dotted path: {"model.depth": 4, ...}."""
    if not isinstance(value, dict):
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= flatten(item, f"{path}.{key}" if path else key)
    return leaves


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
