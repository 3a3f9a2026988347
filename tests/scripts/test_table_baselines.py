"""The trees see the rows, folds and columns of a config, and are scored in the units of the target."""

import dataclasses

import numpy as np
import pytest

from jaxlm.train.config import load_config
from shrunk_tables import houses, people
from whole_path import ROOT


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / "scripts"))
        import table_baselines

        monkeypatch.setitem(table_baselines.TREES, "max_iter", 10)
        monkeypatch.setitem(table_baselines.TREES, "learning_rate", 0.3)
        yield table_baselines


def test_trees_see_missing_cells_and_what_is_near_where_they_are_given_it(script, tmp_path):
    (tmp_path / "houses.csv").write_text(houses(90))
    data = dataclasses.replace(
        load_config(ROOT / "configs" / "mlp_housing.py").data, train_file=str(tmp_path / "houses.csv")
    )
    train, held_out, categories = script.features(data)
    assert (len(train), len(held_out)) == (72, 18)
    assert train.shape[1] == len(categories) == 9 + 4
    assert categories.count(True) == 1
    assert np.isnan(np.concatenate([train, held_out])[:, 4]).sum() == 10
    plain = script.features(dataclasses.replace(data, neighbours=()))[0]
    np.testing.assert_array_equal(plain, train[:, :9])
    assert script.score(data, 0)["r2"] > 0.5


def test_a_line_for_each_seed_and_the_means_are_printed(script, tmp_path, capsys):
    (tmp_path / "a.data").write_text(people(120, "", 0))
    (tmp_path / "a.test").write_text("|skipped\n" + people(60, ".", 1))
    files = ["--train-file", str(tmp_path / "a.data"), "--eval-file", str(tmp_path / "a.test")]
    assert script.main([str(ROOT / "configs" / "mlp_adult.py"), *files, "--seeds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["fold 0 seed 0", "fold 0 seed 1"]
    scores = [float(line.split()[5]) for line in lines[:2]]
    assert lines[2] == f"auc mean {np.mean(scores):.4f}, from {min(scores):.4f} to {max(scores):.4f}"
    assert min(scores) > 0.6
