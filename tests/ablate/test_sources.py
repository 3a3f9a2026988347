"""What a run is made of: every module outside of installed packages that it imports, and the packages that these do."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxlm.ablate import sources
from jaxlm.ablate.sources import Sources
from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput
from jaxlm.models.mlp import MLP
from jaxlm.optim import AdamW
from jaxlm.runs.load import load_module
from jaxlm.train import Config
from jaxlm.train.config import load_config
from jaxlm.train.init_from import InitFrom
from whole_path import ROOT

EXPERIMENT = """
import beside
import on_path.part
from jaxlm.train import Experiment

def build(config, place):
    from lazy import thing
    import a_package.deep
    import not_there
"""
CONFIG = Config(model=MLP(classes=10, hidden=(4,)), data=Digits(batch=8, eval_batch=8), optim=AdamW(peak_lr=0.1))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An experiment file with modules beside it and on the path, and a package that is installed for it."""
    for name, text in {
        "here/my_experiment.py": EXPERIMENT,
        "here/beside.py": "from deeper import inner\n",
        "here/deeper/__init__.py": "",
        "here/deeper/inner.py": "from . import leaf\n",
        "here/deeper/leaf.py": "import json, numpy\n",
        "here/lazy.py": "thing = 1\n",
        "here/unused.py": "",
        "path/on_path/__init__.py": "",
        "path/on_path/part.py": "",
        "path/on_path/other.py": "",
        "lib/site-packages/a_package/__init__.py": "",
        "lib/site-packages/zebra/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("a_package", "zebra"):
        described = tmp_path / "lib" / "site-packages" / f"{name}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        (described / "top_level.txt").write_text(name)
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.syspath_prepend(tmp_path / "lib" / "site-packages")
    sources._distributions.cache_clear()
    yield tmp_path / "here"
    sources._distributions.cache_clear()


def parts(folder, config=CONFIG):
    return Sources(folder / "my_experiment.py").parts(config)


def own_files(code):
    return [name for name in code if not name.startswith("jaxlm/")]


BESIDE = ["beside.py", "deeper/__init__.py", "deeper/inner.py", "deeper/leaf.py"]


def test_every_module_that_is_imported_at_any_depth_is_in_it_and_no_other(folder):
    found = parts(folder)
    expected = [*BESIDE, "experiment.py", "lazy.py", "on_path/__init__.py", "on_path/part.py"]
    assert own_files(found["code"]) == expected
    assert {f"jaxlm/{path.relative_to(ROOT / 'jaxlm')}" for path in (ROOT / "jaxlm").rglob("*.py")} < {*found["code"]}
    (folder / "deeper" / "leaf.py").write_text("import json, numpy  # another byte\n")
    (folder / "unused.py").write_text("# another byte\n")
    assert [name for name, digest in parts(folder)["code"].items() if digest != found["code"][name]] == [
        "deeper/leaf.py"
    ]


def test_what_a_process_has_read_once_it_has_imported(folder):
    made = Sources(folder / "my_experiment.py")
    before = made.parts(CONFIG)
    (folder / "beside.py").write_text("from deeper import inner  # another byte\n")
    assert made.parts(CONFIG) == before


def test_a_package_that_nothing_imports_is_not_in_it(folder):
    before = parts(folder)["packages"]
    assert before["a-package"] == "1.0"
    assert "zebra" not in before
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn"} <= before.keys()  # the data read the last
    assert not {"tyro", "rich", "ray", "optuna", "matplotlib", "pytest"} & before.keys()
    metadata = folder.parent / "lib" / "site-packages" / "a_package-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    assert parts(folder)["packages"] == before | {"a-package": "1.1"}


def test_the_modules_of_a_class_of_the_users_own_are_in_it(folder, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "helper.py").write_text("import zebra\n")
    (project / "mine.py").write_text(
        "import dataclasses\nimport helper_of_numbers\nfrom jaxlm.data.images.sources import Digits\n\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine(Digits):\n    pass\n"
    )
    (project / "helper_of_numbers.py").write_text("def late():\n    import helper\n")
    mine = load_module(project / "mine.py").Mine(batch=8, eval_batch=8)
    plain, found = parts(folder), parts(folder, dataclasses.replace(CONFIG, data=mine))
    added = ["helper.py", "helper_of_numbers.py", "mine.py"]
    assert sorted(set(found["code"]) - set(plain["code"])) == added
    assert set(found["packages"]) - set(plain["packages"]) == {"zebra"}


def test_it_does_not_depend_on_what_else_a_process_has_loaded(folder):
    script = (
        "import json, sys; from jaxlm.ablate.sources import Sources; from jaxlm.train.config import load_config;"
        "print(json.dumps(Sources(sys.argv[1]).parts(load_config(sys.argv[2]))))"
    )
    words = [sys.executable, "-c", script, str(ROOT / "experiments" / "image_classification.py")]
    config = ROOT / "configs" / "cnn_digits.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*words, str(config)], cwd=ROOT, env=environment, capture_output=True, check=True)
    here = Sources(words[-1]).parts(load_config(config))
    there = json.loads(done.stdout)
    assert there["code"] == here["code"]
    assert there["packages"] == here["packages"]


def test_the_arrays_that_a_run_starts_from_are_digested_once(folder, tmp_path):
    from safetensors.numpy import save_file

    def digest():
        return Sources(folder / "my_experiment.py").init_digest(init)

    init, weights = InitFrom(str(tmp_path / "start.safetensors")), {"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)}
    save_file(weights, init.path)
    before, made = digest(), Sources(folder / "my_experiment.py")
    assert made.init_digest(init) == before
    weights["conv1.weight"][0, 0, 0, 0] = 1
    save_file(weights, init.path)
    assert made.init_digest(init) == before
    assert digest() != before
    assert made.init_digest(InitFrom()) is None
    with pytest.raises(BadInput, match="nowhere is not a run directory"):
        made.init_digest(InitFrom("nowhere"))
