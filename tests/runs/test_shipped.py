"""Experiments and configs are found by name or path, and a config knows the experiment that it belongs to."""

from pathlib import Path

import pytest

from jaxlm.errors import BadInput
from jaxlm.runs.load import load_module
from jaxlm.runs.shipped import find_both, find_file, folders, read

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_names_the_experiment_that_its_docstring_shows_and_is_found_by_its_name(path, elsewhere):
    found = read(path)
    assert f"experiments/{found.experiment}.py configs/{path.stem}" in path.read_text()
    assert load_module(path).experiment == found.experiment
    assert find_both([path.stem]) == (ROOT / "experiments" / f"{found.experiment}.py", path)
    assert found.summary.endswith(".")


def test_a_path_comes_before_a_name_and_the_working_directory_before_jaxlm(elsewhere):
    shipped = ROOT / "configs" / "cnn_digits.py"
    assert find_file("config", "cnn_digits") == shipped
    (elsewhere / "configs").mkdir()
    own = elsewhere / "configs" / "cnn_digits.py"
    own.write_text("")
    assert find_file("config", "cnn_digits").resolve() == own
    assert find_file("config", str(shipped)) == find_file("config", str(shipped.with_suffix(""))) == shipped
    (elsewhere / "cnn_digits.py").write_text("")
    assert find_file("config", "cnn_digits") == find_file("config", "cnn_digits.py") == Path("cnn_digits.py")
    assert [folder.resolve() for folder in folders("config")] == [elsewhere / "configs", ROOT / "configs"]


def test_an_experiment_of_ones_own_beside_the_config_is_its_experiment(elsewhere):
    (elsewhere / "mine.py").write_text('experiment = "image_classification"\n')
    assert find_both(["mine"])[0] == ROOT / "experiments" / "image_classification.py"
    (elsewhere / "image_classification.py").write_text("")
    assert find_both(["mine"])[0] == Path("image_classification.py")
    (elsewhere / "changed.py").write_text("")
    assert find_both(["changed.py", "mine"]) == (Path("changed.py"), Path("mine.py"))  # a copy takes any config


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["cnn_digit"], "there is no config file cnn_digit: did you mean cnn_digits?"),
        (["image_clasification", "cnn_digits"], "no experiment file image_clasification: did you mean image_classif"),
        (["configs/cnn_digits.py"], "there is no config file configs/cnn_digits.py: did you mean cnn_digits?"),
        (["zzz"], "there is no config file zzz: `jaxlm list` names the configs"),
        (["plain"], "plain.py does not name its experiment"),
        (["broken"], "broken.py line 1: '\\(' was never closed"),
        (
            ["language_model", "cnn_digits"],
            "is a config of image_classification, not of language_model: use `jaxlm train image_classification cnn",
        ),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_told_with_what_does(names, told, elsewhere):
    (elsewhere / "plain.py").write_text("config = 1\n")
    (elsewhere / "broken.py").write_text("config = (\n")
    with pytest.raises(BadInput, match=told):
        find_both(names)
