"""The identity of a cell: what changes it and what does not."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.ablate import sources
from jaxlm.ablate.cell import Cell, identity_parts, settings, with_seed
from jaxlm.ablate.sources import Sources
from jaxlm.data.images.sources import ArrayImages
from jaxlm.parallel import PlacementSpec
from jaxlm.runs.load import load_module
from jaxlm.train.config import load_config
from whole_path import ROOT, write_arrays

EXPERIMENT, CONFIG = ROOT / "experiments" / "image_classification.py", ROOT / "configs" / "cnn_digits.py"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The parts of a cell's identity; its code and its data are copies that a test may change."""
    shutil.copytree(ROOT / "jaxlm", tmp_path / "jaxlm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path / "README.md")
    shutil.copy(EXPERIMENT, tmp_path / "experiment.py")
    write_arrays(tmp_path, 8)
    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "jaxlm")
    build = load_module(tmp_path / "experiment.py").build
    config = load_config(CONFIG)
    data = ArrayImages(folder=str(tmp_path), batch=32, eval_batch=80)

    def parts(**changes):
        packing = changes.pop("packing", "shared")
        changed = replace(config, data=replace(data, folder=changes.pop("folder", data.folder)))
        changed = replace(changed, run=replace(config.run, seed=3, **changes.pop("run", {})), **changes)
        place = changed.place.build()
        return identity_parts(changed, build(changed, place), place, Sources(tmp_path / "experiment.py"), packing)

    return parts


def differing(one, other):
    """The parts in which two identities differ; they must have the same ones."""
    assert one.keys() == other.keys()
    found = {name for name in one if one[name] != other[name]}
    same = Cell("x", 3, None, one).identity == Cell("x", 3, None, other).identity
    assert same == (not found)
    return found


def test_the_same_cell_has_the_same_identity(made):
    assert differing(made(), made()) == set()
    assert differing(made(), made(run={"workers": 2, "keep_last": 9, "directory": "/tmp/elsewhere"})) == set()
    assert differing(made(), made(run={"metric": "eval/loss", "maximize": False})) == set()


def test_the_config_changes_it(made):
    config = load_config(CONFIG)
    for change in (
        {"model": config.model.clone(hidden=63)},
        {"optim": replace(config.optim, peak_lr=np.nextafter(3e-3, 1).item())},
        {"run": {"steps": 901}},
        {"run": {"eval_every": 90}},
        {"run": {"log_every": 10}},
    ):
        assert differing(made(), made(**change)) == {"config"}
    patient = {"patience": 2, "metric": "eval/loss"}
    assert differing(made(run=patient), made(run=patient | {"metric": "eval/accuracy"})) == {"config"}
    seeded = with_seed(config, 7)
    assert (seeded.run.seed, seeded.run.directory) == (7, None)
    assert settings(seeded) != settings(config)


def test_every_seed_changes_it_and_a_source_that_is_kept_at_the_cell_s_seed_is_none(made):
    for name in ("init_seed", "data_seed", "noise_seed"):
        assert "config" in differing(made(), made(run={name: 4}))
    apart = replace(
        load_config(CONFIG), run=replace(load_config(CONFIG).run, seed=1, init_seed=2, data_seed=3, noise_seed=4)
    )
    assert with_seed(apart, 7).run.seeds == (7, 7, 7)
    assert with_seed(apart, 7, {"data": 3, "noise": 4}).run.seeds == (7, 3, 4)
    assert with_seed(apart, 3, {"data": 3}) == with_seed(apart, 3)


@pytest.mark.parametrize("file", ["jaxlm/steps/update.py", "jaxlm/models/cnn.py", "experiment.py"])
def test_one_byte_of_code_changes_it_and_a_comment_in_the_readme_does_not(made, tmp_path, file):
    before = made()
    (tmp_path / "README.md").write_text((tmp_path / "README.md").read_text() + "\n<!-- a comment -->\n")
    assert differing(before, made()) == set()
    source = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(source + b"\n")
    after = made()
    assert differing(before, after) == {"code"}
    assert [name for name in before["code"] if before["code"][name] != after["code"][name]] == [file]
    (tmp_path / file).write_bytes(source)
    assert differing(before, made()) == set()
    (tmp_path / "jaxlm" / "new.py").write_text("")
    assert differing(before, made()) == {"code"}


@pytest.mark.parametrize(("file", "part"), [("train.npz", "train"), ("test.npz", "eval")])
def test_one_byte_of_data_changes_it(made, tmp_path, file, part):
    before = made(folder=str(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("train.npz", "test.npz"):
        shutil.copy(tmp_path / name, other / name)
    with np.load(other / file) as found:
        arrays = dict(found)
    arrays["images"][5, 4, 4, 1] ^= 1
    np.savez(other / file, **arrays)
    after = made(folder=str(other))
    assert differing(before, after) == {"config", "data"}  # the folder is in the config
    assert {name for name in ("train", "eval") if before["data"][name] != after["data"][name]} == {part}


def test_flags_settings_placement_and_packing_change_it(made, monkeypatch):
    before = made()
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        assert differing(before, made()) == {"platform"}
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert differing(before, made()) == {"settings"}
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    with jax.default_matmul_precision("highest"):
        assert differing(before, made()) == {"settings"}
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        assert differing(before, made()) == {"settings"}
    assert differing(before, made(packing="devices")) == set()
    assert differing(before, made(packing="vmapped")) == {"packing"}
    assert differing(before, made(place=PlacementSpec("mesh"))) == {"config", "platform"}


def test_a_name_is_fit_for_a_file():
    name = Cell("a / b: ü" + "x" * 300, 4, None, {"a": 1}).name
    assert name.startswith("a-b-x")
    assert "-seed4-" in name
    assert len(name) < 100
