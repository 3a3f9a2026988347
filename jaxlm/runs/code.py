"""Keep the user's own Python files with a run, and find their classes again.

A class of such a file is written in a config.json as `code/FOLDER/FILE.py@DIGEST:CLASS`: where the run keeps its file,
and a digest of the source of that file and of the modules beside it that it imports. So the code is part of what
identifies a run, and an edited class is another config.
"""

import ast
import functools
import hashlib
import importlib
import operator
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.runs.files import write_atomic
from jaxlm.runs.load import Texts, load_from, origin, reader, sources

KEPT = "code"  # the folder of a run with the user's files
LIBRARIES = {"jaxlm", "flax"}  # packages whose classes are written by their import path
SETTINGS = {"config", "ablations", "space", "experiment"}  # what a config file assigns, and what is not its code
NAME = re.compile(r"code/(?P<folder>[^/@]+)/(?P<file>[^@]+\.py)@(?P<digest>[0-9a-f]+):(?P<name>[\w.]+)")
PLAIN = re.compile(r"[\w.]+")  # the name of a module that was not made by `load`
_classes: dict[str, tuple[type, Texts]] = {}  # the name in a config.json -> the class and the sources behind it


def class_name(cls: type) -> str:
    """Return the name under which a config.json mentions a class.

    Raises:
        BadInput: a run cannot keep the source of the class.
    """
    if cls.__module__.partition(".")[0] in LIBRARIES and origin(cls.__module__) is None:
        return f"{cls.__module__}:{cls.__qualname__}"
    return _own_name(cls)


def find_class(name: str, run: Path | None) -> Any:
    """Return the class of a name that `class_name` made, from the files that a run directory keeps.

    Raises:
        BadInput: neither jaxlm nor the code of the run defines the class, or that code was changed.
    """
    if name in _classes:
        return _classes[name][0]
    kept, (module, _, qualname) = NAME.fullmatch(name), name.partition(":")
    try:
        if kept and run is not None:
            return operator.attrgetter(kept["name"])(_load_kept(run, kept["folder"], kept["file"], kept["digest"]))
        if module.partition(".")[0] in LIBRARIES and PLAIN.fullmatch(module):
            found = operator.attrgetter(qualname)(importlib.import_module(module))
            if getattr(found, "__module__", "").partition(".")[0] in LIBRARIES:
                return found
    except (ImportError, AttributeError) as error:
        raise BadInput(f"the config names {name}, which cannot be imported here: {error}") from None
    raise BadInput(f"the config names {name}, which neither jaxlm nor code kept with the run defines: it is not used")


def keep_code(run: Path, names: Iterable[str], *files: Path) -> list[str]:
    """Write source files below a run directory: those behind classes, and others with the modules beside them.

    Args:
        run: the run directory.
        names: what `class_name` returned; the names of library classes are passed over.
        files: further Python files, such as the experiment.

    Returns:
        Where each of `files` is kept, relative to the run directory.

    Raises:
        BadInput: two folders of the same name have files of the same name.
    """
    found = [(name.split("/")[1], _classes[name][1]) for name in names if name in _classes]
    absolute = [Path(os.path.abspath(file)) for file in files]
    found += [(file.parent.name, sources(file.name, reader(file.parent))) for file in absolute]
    texts: dict[str, str] = {}
    for folder, inside in found:
        for file, text in inside.items():
            if texts.setdefault(f"{KEPT}/{folder}/{file}", text) != text:
                raise BadInput(f"two folders named {folder} have a {file} that this run uses: rename one folder")
    for path, text in texts.items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(run / path, text)
    return [f"{KEPT}/{file.parent.name}/{file.name}" for file in absolute]


def check_program(run: Path, kept: Path, file: Path) -> None:
    """Check that an experiment file, and the modules beside it that it imports, are those that a run began with.

    Comments, docstrings and layout are no part of a program.

    Args:
        run: the run directory.
        kept: its copy of the file.
        file: that is to go on with the run.

    Raises:
        BadInput: the program is another one, with the first line that differs.
    """
    if found := _changed_source(kept, file):
        raise BadInput(
            f"{run} began with another {file.name} ({found}): put it back, give another --run.directory, or train the "
            f"run's own copy, {kept}"
        )


def _changed_source(kept: Path, file: Path) -> str | None:
    there, here = (sources(path.name, reader(path.parent)) for path in (kept, file))
    if kept.name not in there:
        return f"{kept} is gone"
    there[file.name] = there.pop(kept.name)
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if old is None or new is None:
            return f"{name} is {'new here' if old is None else 'not here'}"
        if _program(old) != _program(new):
            return _first_difference(name, old, new)
    return None


def _program(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
    return ast.dump(tree)


def _first_difference(name: str, old: str, new: str) -> str:
    before, now = (
        [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if not re.match(r"\s*(#|$)", line)]
        for text in (old, new)
    )
    for (_, there), (number, here) in zip(before, now, strict=False):
        if there != here:
            return f"{name} line {number} is {here!r}, and was {there!r}"
    return f"{name} has {len(now)} lines of code, and had {len(before)}"


def _load_kept(run: Path, label: str, file: str, expected: str) -> Any:
    folder = Path(os.path.abspath(run / KEPT / label))
    if ".." in (label, *file.split("/")) or not (folder / file).is_file():
        raise BadInput(f"{run} has no {KEPT}/{label}/{file}, which its config names: copy the whole run directory")
    if digest_sources(sources(file, reader(folder))) != expected:
        raise BadInput(f"{run / KEPT / label} was changed after the run began: put the files back as they were")
    return load_from(folder, file)


@functools.cache
def _own_name(cls: type) -> str:
    """Return the name of a class of the user's own, and remember its sources for `keep`."""
    if "<locals>" in cls.__qualname__:
        raise BadInput(f"{cls.__qualname__} is defined inside a function: define it at the top of a file")
    folder, file, texts = origin(cls.__module__) or _imported(cls)
    texts = sources(file, texts.get)
    name = f"{KEPT}/{folder.name}/{file}@{digest_sources(texts)}:{cls.__qualname__}"
    _classes[name] = (cls, texts)
    return name


def _imported(cls: type) -> tuple[Path, str, Texts]:
    """Return what `origin` returns, for a class of a module that Python itself imported, such as the main script."""
    path = Path(os.path.abspath(getattr(sys.modules.get(cls.__module__), "__file__", None) or ""))
    library = cls.__module__.partition(".")[0] in sys.stdlib_module_names
    if library or path.suffix != ".py" or {"site-packages", "dist-packages"} & set(path.parts):
        raise BadInput(
            f"{cls.__module__}:{cls.__qualname__} cannot be kept with a run: define it in the config file, in a module "
            "beside it, or in a package installed with pip install --editable"
        )
    depth = 0 if cls.__module__ == "__main__" else cls.__module__.count(".") + (path.name == "__init__.py")
    folder = path.parents[depth]
    file = path.relative_to(folder).as_posix()
    return folder, file, sources(file, reader(folder))


def digest_sources(texts: Texts) -> str:
    """Return the first ten hexadecimal digits of the SHA-256 of sources.

    The docstring of a config file and what it sets (`config`, `ablations`, `space`, `experiment`) are not part of it.
    """
    total = hashlib.sha256()
    for file, text in sorted(texts.items()):
        total.update(f"{file}\0{_without_settings(text)}\0".encode())
    return total.hexdigest()[:10]


def _without_settings(text: str) -> str:
    body = ast.parse(text).body
    names = [{getattr(target, "id", "") for target in getattr(statement, "targets", ())} for statement in body]
    if not any("config" in found for found in names):
        return text
    lines: list[str | None] = [*text.splitlines()]
    for number, (statement, found) in enumerate(zip(body, names, strict=True)):
        docstring = number == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if docstring or found & SETTINGS:
            for line in range(statement.lineno - 1, statement.end_lineno or 0):
                lines[line] = None
    return "\n".join(line for line in lines if line is not None)
