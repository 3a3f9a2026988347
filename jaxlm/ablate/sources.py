"""What a run is made of: the source files and packages that it imports, and the arrays that it starts from."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jaxlm
from jaxlm.runs.load import origin
from jaxlm.train.init_from import InitFrom

PACKAGE = Path(jaxlm.__file__).parent
EXPERIMENT = "experiment.py"  # what the experiment file is called in an identity, wherever it is
INIT = "__init__.py"

# Packages of every run: what it computes with, and the plugins and libraries that jax loads by itself.
ALWAYS = {"jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "ml-dtypes"}
PLUGINS = ("jax-cuda", "jax-rocm", "jax-plugins", "nvidia-", "libtpu")
DISPLAY = {"rich", "tyro", "tensorboardX"}  # modules that read settings or show numbers, and make none
INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}

SourceFiles = dict[str, Path]  # module -> source file


@dataclass(frozen=True)
class Root:
    """A source file that a run begins with: its name as a module, and the folder whose modules it can import."""

    name: str
    file: Path
    folder: Path


class Sources:
    """What an experiment file and its configs are made of.

    Files are read once, as early as possible: what is edited later is not what this process has imported. Imports are
    read from the source, within functions too, so that the answer depends on no other module that a process has loaded.

    Args:
        experiment_file: the experiment file.
    """

    def __init__(self, experiment_file: str | Path):
        file = Path(experiment_file).absolute()
        self._experiment = Root(EXPERIMENT, file, file.parent)
        self._jaxlm = {
            f"jaxlm/{path.relative_to(PACKAGE).as_posix()}": path for path in PACKAGE.rglob("*.py") if path.is_file()
        }
        self._digests: dict[Path, str] = {}
        self._parts: dict[frozenset[Root], dict[str, dict[str, str]]] = {}
        self._arrays: dict[InitFrom, str | None] = {}
        for path in (*self._jaxlm.values(), file):
            self._digest(path)

    def parts(self, config: Any) -> dict[str, dict[str, str]]:
        """Return what of a cell's identity is code.

        Args:
            config: of a run. Its values may be of classes of the user's own.

        Returns:
            {"code": SHA-256 of each source file, "packages": version of each installed distribution}. Code is all of
            jaxlm, the experiment file, and every module outside of installed packages that this file or a class of the
            config imports, directly or not. Packages are those that these import, and what every run computes with.
        """
        roots = frozenset({self._experiment, *filter(None, map(_root_of, _classes(config)))})
        if roots not in self._parts:
            files, modules = closure(roots)
            code = {**self._jaxlm, **{_path_of(*item): item[1] for item in files.items()}}
            digests = {name: self._digest(path) for name, path in sorted(code.items())}
            self._parts[roots] = {"code": digests, "packages": packages_of(modules)}
        return self._parts[roots]

    def init_digest(self, init: InitFrom) -> str | None:
        """Return the SHA-256 of what a new run loads, or None where it draws all of its arrays."""
        if init not in self._arrays:
            self._arrays[init] = init.digest()
        return self._arrays[init]

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._digests[path]


def closure(roots: Iterable[Root]) -> tuple[SourceFiles, set[str]]:
    """Follow the imports of source files.

    Returns:
        The files outside of installed packages, those of the roots among them, and the top-level names of the installed
        modules that they import.
    """
    todo = list(roots)
    files, installed = {root.name: root.file for root in todo}, set[str]()
    while todo:
        root = todo.pop()
        for imported in imports_of(root.name, root.file):
            found = locate(imported, root.folder)
            if found is None:
                installed.add(imported.partition(".")[0])
            else:
                new = {module: path for module, path in found.items() if module not in files}
                files |= new
                todo += [Root(module, path, root.folder) for module, path in new.items()]
    return files, installed


@cache
def imports_of(name: str, file: Path) -> list[str]:
    """Return the modules that a source file imports; of `from a import b` both a and a.b, which may be a module."""
    package = name.split(".") if file.name == INIT else name.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())) if file.suffix == ".py" else ():
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            found += [".".join(filter(None, [module, name])) for name in ("", *(alias.name for alias in node.names))]
    return [name for name in dict.fromkeys(found) if name]


def locate(name: str, folder: Path) -> SourceFiles | None:
    """Return the source files that importing a module executes; None for one of an installed package.

    Args:
        name: of a module, or of a name within one. The standard library and what is not there have no files.
        folder: looked in first, see `jaxlm.runs.load`.
    """
    module, *rest = name.split(".")
    found: SourceFiles = {}
    place = (PACKAGE / INIT, PACKAGE) if module == "jaxlm" else _locate_top(module, folder)
    if place is None:
        return None
    file, inside = place
    while file or inside:
        if file:
            found[module] = file
        if not rest or inside is None:
            break
        part = rest.pop(0)
        module, (file, inside) = f"{module}.{part}", _within(inside, part)
    return found


@cache
def _locate_top(name: str, folder: Path) -> tuple[Path | None, Path | None] | None:
    """Return the file and the folder of a top-level module; None for one of an installed package."""
    if name in sys.stdlib_module_names:
        return None, None
    beside = _within(folder, name)
    if beside != (None, None):
        return beside
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None, None
    file = Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    inside = next(iter(spec.submodule_search_locations or ()), None)
    if any(_is_installed(Path(path)) for path in (file, inside) if path):
        return None
    return file, None if inside is None else Path(inside)


def _within(folder: Path, name: str) -> tuple[Path | None, Path | None]:
    package, module = folder / name, folder / f"{name}.py"
    if (package / INIT).is_file():
        return package / INIT, package
    return (module, None) if module.is_file() else (None, package if package.is_dir() else None)


def _is_installed(path: Path) -> bool:
    within = any(folder in path.parents for folder in INSTALLED)
    return within or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _classes(value: Any) -> Iterator[type]:
    """Yield the class of every dataclass within a config."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _classes(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in fields(value):
            yield from _classes(getattr(value, field.name, None))


def _root_of(cls: type) -> Root | None:
    """Return the source file of a class; None for one of an installed package."""
    if made := origin(cls.__module__):
        folder, file, _ = made
        return Root(file.removesuffix(".py").replace("/", "."), folder / file, folder)
    name = cls.__module__
    if name.partition(".")[0] == "jaxlm":
        return Root(name, (locate(name, PACKAGE) or {})[name], PACKAGE)
    imported = getattr(sys.modules.get(name), "__file__", None)
    if imported is None or _is_installed(Path(imported)):
        return None
    return Root(name, Path(imported), Path(imported).parent)


def _path_of(module: str, file: Path) -> str:
    """Return the name of a source file in an identity."""
    if module == EXPERIMENT:
        return EXPERIMENT
    return module.replace(".", "/") + (f"/{INIT}" if file.name == INIT else ".py")


def packages_of(modules: set[str]) -> dict[str, str]:
    """Return the version of each installed distribution that has one of these modules, or that every run needs."""
    named = {name for module in modules - DISPLAY for name in _distributions().get(module, ())}
    always = {name for names in _distributions().values() for name in names if _is_always(name)}
    return {name: importlib.metadata.version(name) for name in sorted(named | always)}


def _is_always(name: str) -> bool:
    plain = name.lower().replace("_", "-")
    return plain in ALWAYS or plain.startswith(PLUGINS)


@cache
def _distributions() -> dict[str, list[str]]:
    """Return the installed distributions of each top-level module."""
    return dict(importlib.metadata.packages_distributions())
