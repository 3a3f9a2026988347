"""A config as the text of a Python file, for a person to change."""

import dataclasses
from typing import Any

from jaxlm.train.serialise import own_fields


def config_source(docstring: str, config: Any) -> str:
    """A config file that defines `config`; fields at their default are left out."""
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
