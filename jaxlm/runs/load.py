"""Load Python files by path, with the modules beside them.

A file becomes a module of a package that is made for its folder, as `jaxlm.runs.load./home/me/project#0.my_config`. So
`sys.path` does not change, two versions of one file can be used in one process, and a new process that unpickles an
object of such a module finds it by its name.
"""

import ast
import builtins
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxlm.errors import BadInput

Texts = Mapping[str, str]  # path relative to a folder -> source
ELSEWHERE = {*sys.stdlib_module_names, "jax", "jaxlm", "flax"}  # never a module of the user's own, whatever its folder
__path__: list[str] = []  # makes a package of this module, whose modules the finder below provides
_versions: dict[Path, list[dict[str, str]]] = {}  # folder -> the sources of each version that was loaded


def load_module(path: str | Path) -> Any:
    """Execute a Python file as a module, or return the module of an earlier call if no source has changed since.

    The file may import the modules beside it.

    Raises:
        BadInput: there is no such Python file, or it raises an error; the message names file and line.
    """
    file = Path(os.path.abspath(path))
    if file.suffix != ".py" or not file.is_file():
        raise BadInput(f"{path} is not a Python file: give the path of a file whose name ends in .py")
    return load_from(file.parent, file.name)


def load_from(folder: Path, file: str) -> Any:
    """Do what `load_module` does, for a file in a sub-folder too: `mylab/models.py` becomes `mylab.models`."""
    texts, versions = sources(file, reader(folder)), _versions.setdefault(folder, [{}])
    if any(versions[-1].get(name, text) != text for name, text in texts.items()):
        versions.append({})
    versions[-1].update(texts)
    package = f"{__name__}.{_escape(str(folder))}#{len(versions) - 1}"
    try:
        return importlib.import_module(f"{package}.{_escape(file[:-3]).replace('/', '.')}")
    except BadInput:
        raise
    except Exception as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))
        ]
        where = f"{frames[-1].filename} line {frames[-1].lineno}" if frames else str(folder / file)
        raise BadInput(f"{where}: {type(error).__name__}: {error}") from error


def origin(module: str) -> tuple[Path, str, Texts] | None:
    """Return the folder, the file in it and the sources of a module that was loaded here; None for any other module."""
    if not module.startswith(f"{__name__}."):
        return None
    package, _, inner = module[len(__name__) + 1 :].partition(".")
    folder, version = _unpack(package)
    base, texts = _unescape(inner.replace(".", "/")), _versions[folder][version]
    return folder, next(file for file in (f"{base}.py", f"{base}/__init__.py") if file in texts), texts


def reader(folder: Path) -> Callable[[str], str | None]:
    """Return the function that reads a source of a folder: None where there is no such file."""

    def read(file: str) -> str | None:
        try:
            return importlib.util.decode_source((folder / file).read_bytes())
        except OSError:
            return None
        except (SyntaxError, ValueError) as error:
            raise BadInput(f"{folder / file} is not a Python file: {error}") from None

    return read


def sources(file: str, read: Callable[[str], str | None]) -> dict[str, str]:
    """Return the source of a file and of the modules beside it that it imports, at any depth, by path.

    Imports are found in the source, inside functions too; a name that is computed while running is not found.
    """
    texts: dict[str, str] = {}
    waiting = [file]
    while waiting:
        file = waiting.pop()
        if file not in texts and (text := read(file)) is not None:
            texts[file] = text
            waiting += [candidate for name in _imports(file, text) for candidate in _files(name)]
    return dict(sorted(texts.items()))


def _imports(file: str, text: str) -> Iterator[str]:
    """Yield the dotted names that a source imports and that may be modules of the user's own."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{file} line {getattr(error, 'lineno', 0)}: {error.args[0]}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = file.split("/")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name and name.partition(".")[0] not in ELSEWHERE)


def _files(name: str) -> Iterator[str]:
    """Yield the files that may define a dotted name: its module, and the packages above it."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        base = "/".join(parts[:count])
        yield from (f"{base}.py", f"{base}/__init__.py")


def _unpack(package: str) -> tuple[Path, int]:
    folder, _, version = package.rpartition("#")
    return Path(_unescape(folder)), int(version)


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace(".", "%2E")


def _unescape(text: str) -> str:
    return text.replace("%2E", ".").replace("%25", "%")


class _Finder(MetaPathFinder):
    """Finds the modules of the packages that are made for folders."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            return None
        package, _, module = fullname[len(__name__) + 1 :].partition(".")
        folder, version = _unpack(package)
        base = _unescape(module.replace(".", "/"))
        versions = _versions.setdefault(folder, [{} for _ in range(version + 1)])
        for file in (f"{base}.py", f"{base}/__init__.py") if module else ():
            if file not in versions[version]:  # in a new process, or after an import that the source does not show
                versions[version].update(sources(file, reader(folder)))
            if file in versions[version]:
                inside = [str((folder / file).parent)] if file.endswith("__init__.py") else None
                loader = _Loader(folder, f"{__name__}.{package}", versions[version], file)
                return importlib.util.spec_from_file_location(
                    fullname, folder / file, loader=loader, submodule_search_locations=inside
                )
        return ModuleSpec(fullname, None, is_package=True) if (folder / base).is_dir() else None


class _Loader(Loader):
    """Executes a source with an import statement that finds the modules beside it first."""

    def __init__(self, folder: Path, package: str, texts: Texts, file: str):
        self.folder, self.package, self.texts, self.file = folder, package, texts, file

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(compile(self.texts[self.file], str(self.folder / self.file), "exec"), module.__dict__)

    def _import(self, name: str, globals: Any = None, locals: Any = None, names: Any = (), level: int = 0) -> Any:
        top = name.partition(".")[0]
        beside = any(file.partition("/")[0] in (top, f"{top}.py") for file in self.texts)
        if level or top in ELSEWHERE or not beside:
            return builtins.__import__(name, globals, locals, names, level)
        files = (str(self.folder / f"{top}.py"), str(self.folder / top / "__init__.py"))
        for imported in (top, "__main__"):  # the script that was started may have imported the same file already
            known = sys.modules.get(imported)
            if known is not None and os.path.abspath(getattr(known, "__file__", None) or "") in files:
                return known if imported == "__main__" else builtins.__import__(name, globals, locals, names, 0)
        importlib.import_module(f"{self.package}.{name}")
        if names:
            return builtins.__import__(f"{self.package}.{name}", globals, locals, names, 0)
        return sys.modules[f"{self.package}.{top}"]


sys.meta_path.insert(0, _Finder())
