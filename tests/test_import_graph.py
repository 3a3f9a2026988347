"""Who may import whom: the rule of docs/design.md, read from the source."""

import ast
import subprocess
import sys
import time
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIMIT = 300  # lines of a file
CROWD = 12  # modules of a folder

# The packages (or files beside them) that each one may import. What is not listed here may not be imported, and a new
# package has to be entered. `errors` and `interrupt` are open to all, and a package to itself.
MAY_IMPORT = {
    "errors": set(),
    "metrics": set(),
    "steps": {"metrics"},
    "nn": set(),
    "models": {"nn"},
    "losses": {"steps", "metrics", "environments"},
    "decode": {"steps"},
    "optim": {"steps"},
    "data": {"steps"},
    "environments": set(),
    "parallel": {"steps"},
    "hub": {"models", "nn", "steps"},
    "runs": {"hub", "steps"},
    "interrupt": set(),
    "privacy": {"runs", "parallel", "data", "steps", "metrics", "nn"},
    "train": {"runs", "hub", "parallel", "optim", "data", "decode", "environments", "losses", "steps", "metrics"}
    | {"privacy"},
}
MAY_IMPORT["predict"] = MAY_IMPORT["train"] | {"train"}
MAY_IMPORT["federated"] = MAY_IMPORT["predict"]
MAY_IMPORT["drift"] = MAY_IMPORT["predict"] | {"predict"}
MAY_IMPORT["export"] = MAY_IMPORT["drift"] | {"drift"}
MAY_IMPORT[""] = {"export"}  # jaxlm.load
MAY_IMPORT["ablate"] = MAY_IMPORT["report"] = MAY_IMPORT["predict"] | {"predict", "models", "nn"}
MAY_IMPORT["serve"] = MAY_IMPORT["export"] | {"export"}
MAY_IMPORT["compress"] = MAY_IMPORT["serve"] | {"nn"}
MAY_IMPORT["verbs"] = MAY_IMPORT["ablate"] | {"ablate", "report", "drift", "export", "compress", "serve"}
MAY_IMPORT["cli"] = MAY_IMPORT["verbs"] | {"verbs"}
MAY_IMPORT["__main__"] = {"cli"}

# Every foreign library has one home.
HOMES = {
    "flax.linen": {"nn", "models"},
    "flax.nnx": set(),
    "optax": {"steps", "optim", "losses"},
    "orbax": {"runs"},
    "tyro": {"train"},
    "tensorboardX": {"train"},
    "tensorboard": set(),
    "rich": {"train", "cli", "verbs"},
    "flwr": {"federated"},
    "grain": {"data"},
    "gymnasium": {"environments"},
    "brax": {"environments"},
    "gymnax": {"environments"},
    "tensorflow_datasets": {"data"},
    "tensorflow": {"data"},
    "tokenizers": {"data", "hub"},
    "sacrebleu": {"metrics"},
    "rouge_score": {"metrics"},
    "jiwer": {"metrics"},
    "faster_coco_eval": {"metrics"},
    "soundfile": {"data"},
    "soxr": {"data"},
    "safetensors": {"hub"},
    "huggingface_hub": {"hub"},
    "transformers": set(),
    "PIL": {"data"},
    "pandas": {"data"},
    "pyarrow": set(),
    "sklearn": {"data", "metrics", "verbs"},
    "scipy": {"verbs", "ablate", "metrics", "privacy", "drift"},
    "dp_accounting": {"privacy"},
    "statsmodels": {"ablate"},
    "ray": {"ablate", "serve"},
    "optuna": {"ablate"},
    "lm_eval": {"decode", "verbs"},
    "matplotlib": {"ablate", "predict"},
    "jinja2": {"ablate"},
    "fastapi": {"serve"},
    "jax2onnx": {"export"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "pydantic": {"serve"},
    "starlette": {"serve"},
    "sqlalchemy": {"serve"},
    "tabulate": {"ablate", "compress", "verbs"},
    "implicit": set(),
    "torch": set(),
    "pickle": set(),
}


def modules(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module):
    """jaxlm.steps.update -> steps, jaxlm.cli -> cli, jaxlm -> the empty string."""
    return [*module.split("."), ""][1]


@cache
def imports(file):
    """The full names of all that a file imports, wherever it stands in it: modules, and names from modules."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def edges():
    """(file, package, imported package) for every import of jaxlm by another part of it."""
    for file in modules("jaxlm"):
        for name in imports(file):
            package, imported = package_of(name_of(file)), package_of(name)
            if name.split(".")[0] == "jaxlm" and imported and imported not in (package, "errors", "interrupt"):
                yield file.relative_to(ROOT), package, imported


def has(file, library):
    return any(name == library or name.startswith(library + ".") for name in imports(file))


def test_every_package_is_entered_in_the_rule():
    packages = {package_of(name_of(file)) for file in modules("jaxlm")} - {""}
    assert packages <= set(MAY_IMPORT)


def test_packages_import_only_those_they_may():
    assert [edge for edge in edges() if edge[2] not in MAY_IMPORT[edge[1]]] == []


def test_the_rule_itself_allows_no_cycle():
    remaining = {package: set(allowed) for package, allowed in MAY_IMPORT.items()}
    while remaining:
        ground = {package for package, allowed in remaining.items() if not allowed & set(remaining)}
        assert ground, f"a cycle among {sorted(remaining)}"
        remaining = {package: allowed for package, allowed in remaining.items() if package not in ground}


def test_the_package_itself_imports_nothing_before_a_run_is_loaded():
    tree = ast.parse((ROOT / "jaxlm" / "__init__.py").read_text())
    assert {node.module for node in tree.body if isinstance(node, ast.ImportFrom)} == {"typing"}
    assert not any(isinstance(node, ast.Import) for node in tree.body)


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_is_imported_only_at_home(library):
    users = {package_of(name_of(file)) for file in modules("jaxlm") if has(file, library)}
    assert users <= HOMES[library]


@pytest.mark.parametrize("folder", ["experiments", "configs"])
def test_experiments_and_configs_never_import_each_other(folder):
    own = {file.stem for parent in ("experiments", "configs", "scripts", "tests") for file in modules(parent)}
    for file in modules(folder):
        roots = {name.split(".")[0] for name in imports(file)}
        assert not roots & ({"experiments", "configs", "scripts", "tests"} | own), file


def test_the_library_imports_no_experiment_and_no_test():
    for file in modules("jaxlm"):
        roots = {name.split(".")[0] for name in imports(file)}
        assert not roots & {"experiments", "configs", "scripts", "tests", "pytest", "hypothesis"}, file


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [file for file in modules("jaxlm") if drawers & set(name_of(file).split("."))] == []


def test_every_file_fits_a_short_read():
    folders = ("jaxlm", "experiments", "configs")
    lengths = {file: len(file.read_text().splitlines()) for folder in folders for file in modules(folder)}
    assert {str(file): length for file, length in lengths.items() if length > LIMIT} == {}


def test_the_wheel_has_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {name_of(file) for file in modules("jaxlm") if file.name == "__init__.py"}
    assert set(listed) == found | {"jaxlm.configs", "jaxlm.experiments"}


def test_no_folder_is_crowded():
    counts = {}
    for file in modules("jaxlm"):
        if file.name != "__init__.py":
            counts[str(file.parent.relative_to(ROOT))] = counts.get(str(file.parent.relative_to(ROOT)), 0) + 1
    many = {
        "jaxlm/models",
        "jaxlm/nn",
        "jaxlm/hub",
        "jaxlm/losses",
        "jaxlm/metrics",
        "jaxlm/decode",
    }  # one architecture, layer, task or way of decoding a file
    assert {folder: count for folder, count in counts.items() if count > CROWD and folder not in many} == {}


def test_no_circle_between_modules():
    """Imports inside functions count too; a package's own face (`__init__`) may gather its modules."""
    names = {name_of(file) for file in modules("jaxlm") if file.name != "__init__.py"}
    graph = {name_of(file): imports(file) & names for file in modules("jaxlm") if file.name != "__init__.py"}
    while graph:
        ground = {module for module, needed in graph.items() if not needed & set(graph)}
        assert ground, f"a circle among {sorted(graph)}"
        graph = {module: needed for module, needed in graph.items() if module not in ground}


OF_EACH = {"Block", "Attention", "main"}  # each architecture, and each command line, has its own


def public_names(file):
    """What a module defines at its top: functions, classes and constants without an underscore."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            found = []
        yield from (name for name in found if not name.startswith("_"))


def test_no_public_function_or_class_is_defined_twice():
    homes = {}
    for file in modules("jaxlm"):
        for name in set(public_names(file)) - OF_EACH:
            if not name.isupper() and name not in ("PyTree",):
                homes.setdefault(name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def run(code):
    """The standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_package_or_a_step_loads_no_library_of_the_shell():
    code = "import sys, jaxlm, jaxlm.steps, jaxlm.losses, jaxlm.parallel, jaxlm.optim; print(*sys.modules)"
    loaded = set(run(code).split())
    assert "jaxlm.steps" in loaded
    heavy = {
        "orbax.checkpoint",
        "grain",
        "tyro",
        "tensorflow_datasets",
        "tensorflow",
        "tokenizers",
        "tensorboardX",
    }
    assert not loaded & (heavy | {"torch", "matplotlib", "jaxlm.train", "jaxlm.data", "jaxlm.models", "jaxlm.nn"})


def test_plots_and_pages_cost_no_run_a_second():
    code = "import sys, jaxlm.train, jaxlm.ablate, jaxlm.cli; sys.argv = ['jaxlm', '--help']\n"
    code += "try: jaxlm.cli.main()\nexcept SystemExit: print(*sys.modules)"
    loaded = set(run(code).split())
    assert "jaxlm.ablate.report.table" in loaded
    assert not loaded & {"matplotlib", "jinja2"}


@pytest.mark.slow
def test_importing_the_package_adds_less_than_half_a_second_to_jax():
    def seconds(code):
        started = time.perf_counter()
        run(code)
        return time.perf_counter() - started

    pairs = [(seconds("import jax"), seconds("import jax, jaxlm")) for _ in range(3)]
    without, together = map(min, zip(*pairs, strict=True))
    assert together - without < 0.5
