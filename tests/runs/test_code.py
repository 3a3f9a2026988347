"""Classes of the user's own: kept with a run, found from it alone, and another config once their code changes."""

import shutil
import subprocess
import sys
from dataclasses import make_dataclass

import pytest

from jaxlm.errors import BadInput
from jaxlm.runs.code import digest_sources, keep_code
from jaxlm.runs.load import load_module
from jaxlm.runs.serialise import class_names, from_json, to_json

CONFIG = '''"""A config with classes of its own. Score: unknown."""

from dataclasses import dataclass

from layers import Layer

WIDTH = 3


@dataclass(frozen=True)
class Model:
    layer: Layer
    width: int = WIDTH


config = Model(Layer(2))
ablations = {
    "wide": ("--width", "5"),
}
'''
LAYERS = """from dataclasses import dataclass
from numbers_of import ONE

@dataclass(frozen=True)
class Layer:
    depth: int = ONE

    @dataclass(frozen=True)
    class Inner:
        size: int = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    for name, text in (("my config", CONFIG), ("layers", LAYERS), ("numbers_of", "ONE = 1\n")):
        (tmp_path / "mine" / f"{name}.py").write_text(text)
    return tmp_path / "mine"


def names(folder):
    return list(class_names(to_json(load_module(folder / "my config.py").config)))


def edit(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_config_comes_back_from_the_run_alone_in_another_process(folder, tmp_path):
    config = load_module(folder / "my config.py").config
    keep_code(tmp_path / "run", class_names(to_json(config)))
    assert from_json(to_json(config), tmp_path / "run") == config  # here they are the very classes
    shutil.rmtree(folder)
    code = f"""
from pathlib import Path
from jaxlm.runs.serialise import from_json, to_json
value = {to_json(config)!r}
config = from_json(value, Path({str(tmp_path / "run")!r}))
assert to_json(config) == value
print(config)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Model(layer=Layer(depth=2), width=3)\n"


def test_only_what_the_classes_are_made_of_is_part_of_their_name(folder):
    before = names(folder)
    assert [name.partition("@")[0] for name in before] == ["code/mine/my config.py", "code/mine/layers.py"]
    config = folder / "my config.py"
    edit(config, "Layer(2)", "Layer(\n    3\n)")
    edit(config, '"5"', '"6"')
    edit(config, "Score: unknown", "Score: 93 %")
    (folder / "other.py").write_text("import layers\n")
    assert names(folder) == before
    edit(config, "WIDTH = 3", "WIDTH = 4")
    model, layer = names(folder)
    assert model != before[0]
    assert layer == before[1]
    edit(folder / "numbers_of.py", "1", "2")
    assert names(folder)[1] != before[1]


def test_a_variable_of_a_module_is_its_code_even_if_it_is_called_as_one_of_a_config_file():
    assert digest_sources({"layers.py": "space = 1\n"}) != digest_sources({"layers.py": "space = 2\n"})


def test_a_class_inside_a_class_comes_back(folder):
    inner = load_module(folder / "layers.py").Layer.Inner(4)
    assert from_json(to_json(inner)) == inner


def fresh(run, name):
    """The one line of the error of a process that reads a class from a run."""
    code = f"""
from pathlib import Path
from jaxlm.errors import BadInput
from jaxlm.runs.serialise import from_json
try: from_json({{"type": {name!r}}}, Path({str(run)!r}))
except BadInput as error: print(error)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_code_of_a_run_that_is_gone_or_was_changed_is_refused(folder, tmp_path):
    name = names(folder)[1]
    keep_code(tmp_path / "run", [name])
    edit(tmp_path / "run" / "code" / "mine" / "numbers_of.py", "1", "9")
    assert "was changed after the run began" in fresh(tmp_path / "run", name)
    shutil.rmtree(tmp_path / "run" / "code")
    assert "has no code/mine/layers.py" in fresh(tmp_path / "run", name)


def test_two_folders_of_one_name_do_not_overwrite_each_other(folder, tmp_path):
    other = tmp_path / "other" / "mine"
    shutil.copytree(folder, other)
    keep_code(tmp_path / "run", names(folder), other / "layers.py")  # the same text
    edit(other / "numbers_of.py", "1", "2")
    with pytest.raises(BadInput, match=r"two folders named mine have a numbers_of.py"):
        keep_code(tmp_path / "run", names(folder), other / "layers.py")


@pytest.mark.parametrize("module", ["optax", "types", "nowhere"])
def test_a_class_without_a_file_of_the_users_is_refused(module):
    installed = make_dataclass("Installed", [])
    installed.__module__ = module
    with pytest.raises(BadInput, match="cannot be kept with a run: define it in the config file"):
        to_json(installed())
