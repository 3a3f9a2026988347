"""`jaxlm ablate --vary-seed`: one source of variation follows the seed of a cell, and the others do not."""

import json

import pytest
from ablations import CONFIG, command, jaxlm, records

from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.compare import digests
from jaxlm.runs.directory import RunDirectory


def final(home):
    """The bits of the root key of a run, and those of its parameters."""
    found = digests(Checkpoints(home.checkpoints).restore_raw(1))
    return found["key"], found["params"]


@pytest.mark.parametrize("source", ["init", pytest.param("data", marks=pytest.mark.slow)])
def test_one_source_follows_the_seed(source, tmp_path):
    (tmp_path / "config.py").write_text(CONFIG.replace(', "too fast": ("--optim.peak-lr", "1e30")', ""))
    words = "--seeds 2 --vary-seed X --run.steps 1 --run.eval-every 0 --run.save-every 0 --optim.warmup 0".split()
    words[3] = source
    code, out, err = jaxlm(*command(tmp_path / "config.py", tmp_path / "made", *words))
    assert (code, err) == (0, "")
    seeds = {key: record["parts"]["config"] for key, record in records(tmp_path / "made", "base").items()}
    others = [name for name in ("init", "data", "noise") if name != source]
    assert all(seeds["base", 6][f"run.{name}_seed"] == 5 for name in others)
    assert seeds["base", 6][f"run.{source}_seed"] is None
    assert all(seeds["base", 5][f"run.{name}_seed"] is None for name in ("init", "data", "noise"))
    homes = [RunDirectory(next((tmp_path / "made").glob(f"cells/base-seed{seed}-*/"))) for seed in (5, 6)]
    keys, drawn = zip(*(final(home) for home in homes), strict=True)
    data = [home.lineage()["sessions"][0]["data"]["train"] for home in homes]
    assert keys[0] == keys[1]
    assert drawn[0] != drawn[1]
    assert (data[0] == data[1]) == (source == "init")
    told = {"init": "initialisation", "data": "order of the data"}[source]
    assert f"Only one source follows the seed: {told}. The others stay in every cell: " in out
    assert "dropout and augmentation at 5." in out
    assert any(told in line for line in json.loads((tmp_path / "made" / "table.json").read_text())["foot"])
