"""Every name of jaxlm that a test, script, experiment or config takes from a module is there, without running it.

Most slow tests are not run at every change: one that reaches for a name that was renamed meanwhile would tell so late.
"""

import ast
import importlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("tests", "scripts", "experiments", "configs")


def taken(file):
    """Yield the line and the module and name of each `from jaxlm.x import name` and each `module.name` in a file."""
    tree = ast.parse(file.read_text())
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxlm":
            for alias in node.names:
                yield node.lineno, node.module, alias.name
                bound[alias.asname or alias.name] = node.module, alias.name
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assigned |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name in bound and name not in assigned:
                found = member(*bound[name])
                if isinstance(found, ModuleType):
                    yield node.lineno, found.__name__, node.attr


def member(module, name):
    """What `from module import name` gives, or None where there is no such thing.

    A module that needs a package of an extra that is not installed is read instead of run: its name, where it has it.
    """
    try:
        holder = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "jaxlm":
            return None
        return name if name in defined(module) else None
    if not hasattr(holder, name):
        try:
            return importlib.import_module(f"{module}.{name}")
        except ModuleNotFoundError as error:
            return None if error.name == f"{module}.{name}" else name
    return getattr(holder, name)


def defined(module):
    """The names that a module's source defines at its top, its imports among them."""
    tree = ast.parse(Path(importlib.util.find_spec(module).origin).read_text())
    names = set()
    for node in tree.body:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                names.add(part.id)
            elif isinstance(part, ast.alias):
                names.add(part.asname or part.name.split(".")[0])
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_name_that_is_taken_is_there(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    missing = []
    for file in files:
        for line, module, name in taken(file):
            if member(module, name) is None:
                missing.append(f"{file.relative_to(ROOT)}:{line}: {module} has no {name}")
    assert missing == []


def test_a_name_that_is_gone_is_told(tmp_path):
    file = tmp_path / "late.py"
    file.write_text("from jaxlm.data.images import labelled\n\n\ndef late():\n    labelled._loaded.cache_clear()\n")
    assert (5, "jaxlm.data.images.labelled", "_loaded") in set(taken(file))


def test_a_module_of_an_extra_that_is_not_installed_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.instance", None)
    monkeypatch.delitem(sys.modules, "jaxlm.decode.lm_eval", raising=False)
    assert member("jaxlm.decode.lm_eval", "likelihoods_of") is None
    assert member("jaxlm.decode.lm_eval", "Instance") == "Instance"


def test_no_two_test_files_have_one_name():
    """Pytest imports them by their name, and that of a folder that is a package: of two, one would not be collected."""
    files = (ROOT / "tests").rglob("test_*.py")
    names = Counter(str(file) if (file.parent / "__init__.py").is_file() else file.name for file in files)
    assert [name for name, count in names.items() if count > 1] == []
