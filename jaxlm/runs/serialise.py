"""Configs as JSON and back, and as Python source. They are nested dataclasses of plain values; Linen modules too."""

import dataclasses
import hashlib
import json
import os
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxlm.errors import BadInput, one_line
from jaxlm.runs.code import class_name, find_class
from jaxlm.runs.files import write_atomic

TYPE = "type"
DIGEST = "digest"  # of a JSON file, in itself
LINEN_FIELDS = {"parent", "name"}  # what Linen adds to a module


def to_json(value: Any) -> Any:
    """Convert a config to JSON: a dataclass to an object with its class under "type", a tuple to a list.

    Raises:
        TypeError: a value that is neither a dataclass nor plain.
        BadInput: a class whose source cannot be kept with a run.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {name: to_json(getattr(value, name)) for name in own_fields(cls)}
        return {TYPE: class_name(cls)} | fields
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a config holds plain values and dataclasses, and not {type(value).__name__}: {value!r}")


def from_json(value: Any, run: Path | None = None) -> Any:
    """Convert JSON back to a config: the inverse of `to_json`, except that lists become tuples.

    Args:
        value: what `to_json` returned.
        run: the run directory that keeps the source of the user's own classes, see `jaxlm.runs.code`.

    Raises:
        BadInput: a class that neither jaxlm nor the code of the run defines, fields that the class does not have, or
            values of another type than the field's.
    """
    if isinstance(value, list):
        return tuple(from_json(item, run) for item in value)
    if not isinstance(value, dict):
        return value
    name = value.get(TYPE)
    if not isinstance(name, str):
        raise BadInput(f"the config has an object without a class, with the fields {', '.join(value) or 'none'}")
    cls = find_class(name, run)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise BadInput(f"the config names {name}, which is not a dataclass")
    surplus = sorted(set(value) - set(own_fields(cls)) - {TYPE})
    if surplus:
        raise BadInput(f"the config gives {name} the fields {', '.join(surplus)}, which it does not have")
    fields = {key: from_json(item, run) for key, item in value.items() if key != TYPE}
    if wrong := misfit(cls, fields):
        raise BadInput(f"the config does not fit {name}: {wrong}")
    try:
        return cls(**fields)
    except TypeError as error:
        raise BadInput(f"the config does not fit {name}: {error}") from None


def misfit(cls: type, values: dict[str, Any]) -> str | None:
    """Describe the first of some values that does not have the type of its field, or return None.

    A field of type Any in a class of jaxlm's own holds a part of a config, and neither a number nor a text.

    Args:
        cls: a dataclass.
        values: by the name of the field.
    """
    for name, value in values.items():
        hint = _hints(cls).get(name, object)
        if not _has_type(value, hint, own=cls.__module__.startswith("jaxlm.")):
            return f"{name} is {value!r}, and must be {_text(hint)}"
    return None


@cache
def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except Exception:  # annotations of the user's own that cannot be evaluated here: nothing is known of the types
        return {field.name: object for field in dataclasses.fields(cls)}


def _has_type(value: Any, hint: Any, own: bool) -> bool:
    """Return whether a value has a type; True for types that say nothing about plain values and dataclasses.

    Args:
        value: a field's, or one in it.
        hint: the type.
        own: whether the class is jaxlm's own, in which Any stands for a part of a config.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return not (own and isinstance(value, bool | int | float | str))
    if origin in (Union, types.UnionType):
        return any(_has_type(value, one, own) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(each) == len(value) and all(_has_type(item, one, own) for item, one in zip(value, each, strict=True))
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    if not isinstance(hint, type) or origin is not None:
        return True
    try:
        return isinstance(value, hint)
    except TypeError:  # a protocol that is not checked at run time
        return True


def _text(hint: Any) -> str:
    if hint is Any:
        return "a part of a config"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def class_names(value: Any) -> Iterator[str]:
    """Yield the name of the class of every object in the JSON of a config."""
    if isinstance(value, dict):
        yield value[TYPE]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from class_names(item)


def own_fields(cls: Any) -> list[str]:
    """Return the fields that the author of a dataclass declared, without those that Linen adds."""
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    return [name for name in names if name not in LINEN_FIELDS] if set(names) >= LINEN_FIELDS else names


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a JSON config by dotted path: {"model.depth": 4, ...}."""
    if not isinstance(value, dict):
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, item in value.items():
        leaves |= flatten(item, f"{path}.{key}" if path else key)
    return leaves


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_digested(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its own digest to a file, whole or not at all."""
    write_atomic(path, digested_text(content))


def digested_text(content: Mapping[str, Any]) -> str:
    """Return the text that `write_digested` writes."""
    return json.dumps({**content, DIGEST: digest(content)}, indent=1) + "\n"


def read_digested(path: Path, fields: Mapping[str, type]) -> dict[str, Any]:
    """Read a JSON object that `write_digested` wrote, and check it against its digest.

    Files of versions before 0.3 have no digest, and are not checked. The digest is the last field, so one whose name is
    damaged is known by its value.

    Args:
        path: the file.
        fields: names that it must have, with the types of their values.

    Raises:
        ValueError: what is wrong with it, in a few words that start with its name.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path.name} is missing")
    try:
        found = json.loads(path.read_bytes())
        claimed = found.pop(DIGEST, None) if isinstance(found, dict) else None
        if claimed is None and isinstance(found, dict) and found:
            changed = found[last := [*found][-1]] == digest({name: found[name] for name in found if name != last})
        else:
            changed = claimed is not None and claimed != digest(found)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read: {one_line(error)}") from None
    if changed or not isinstance(found, dict):
        raise ValueError(f"{path.name} {'has changed since it was written' if changed else 'is not a JSON object'}")
    for name, kind in fields.items():
        if not isinstance(found.get(name), kind):
            raise ValueError(f"{path.name} has no {name}")
    return found


def config_source(docstring: str, config: Any) -> str:
    """Return the text of a config file that defines `config`, for a person to change; defaults are left out."""
    imports: set[tuple[str, str]] = set()
    body = _source(config, imports, 0)
    modules = {module: sorted(name for where, name in imports if where == module) for module, _ in sorted(imports)}
    lines = [f"from {module} import {', '.join(names)}" for module, names in modules.items()]
    return "\n".join([f'"""{docstring}"""', "", *lines, "", f"config = {body}", ""])


def _source(value: Any, imports: set[tuple[str, str]], depth: int) -> str:
    if isinstance(value, tuple):
        items = [_source(item, imports, depth) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if not dataclasses.is_dataclass(value):
        return repr(value)
    cls: Any = type(value)
    imports.add((cls.__module__, cls.__qualname__))
    indent = "    " * (depth + 1)
    defaults = {field.name: _default(field) for field in dataclasses.fields(cls)}
    given = [name for name in own_fields(cls) if getattr(value, name) != defaults[name]]
    lines = [f"{indent}{name}={_source(getattr(value, name), imports, depth + 1)},\n" for name in given]
    return f"{cls.__qualname__}(\n{''.join(lines)}{indent[4:]})" if lines else f"{cls.__qualname__}()"


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
