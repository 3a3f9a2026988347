"""The audit of a run: a model that knows its examples by heart is found out, and a private one is not."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxlm import cli
from jaxlm.data.images.sources import ArrayImages
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import Adam
from jaxlm.privacy import Privacy
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run, train
from whole_path import ROOT

build = load_module(ROOT / "experiments" / "image_classification.py").build
MEMBERS = 200


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Digits of which one in three has a wrong label, which only those who saw it can know."""
    folder, found = tmp_path_factory.mktemp("audited"), load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = np.round(found.images[order] * (255 / 16)).astype(np.uint8)
    wrong = np.arange(len(order)) % 3 == 0
    labels = np.where(wrong, (found.target[order] + 1) % 10, found.target[order])
    np.savez(folder / "train.npz", images=images[:MEMBERS], labels=labels[:MEMBERS])
    np.savez(folder / "test.npz", images=images[MEMBERS:1200], labels=labels[MEMBERS:1200])
    return Config(
        model=MLP(hidden=(64,), classes=10),
        data=ArrayImages(folder=str(folder), batch=50, eval_batch=200),
        optim=Adam(peak_lr=0.01, schedule="constant"),
        loss=Classification(),
        run=Run(steps=160, log_every=0, save_every=160),
    )


def audited(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["jaxlm", "audit", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr()


def test_a_model_that_knows_its_examples_by_heart_is_found_out(config, tmp_path, monkeypatch, capsys):
    train(build, config, tmp_path / "leaks")
    code, said = audited(monkeypatch, capsys, tmp_path / "leaks")
    assert code == 0
    found = json.loads((tmp_path / "leaks" / "audit.json").read_text())
    assert found["auc"] > 0.8
    assert found["interval"][0] < found["auc"] < found["interval"][1]
    assert (found["members"], found["others"]) == (MEMBERS, 1000)
    assert f"AUC {found['auc']:.4f}" in said.out
    itself = audited(monkeypatch, capsys, tmp_path / "leaks", "--reference", tmp_path / "leaks", "--examples", 90)
    assert itself[0] == 0
    compared = json.loads((tmp_path / "leaks" / "audit.json").read_text())
    assert (compared["auc"], compared["members"]) == (0.5, 90)  # against itself nothing is left


@pytest.mark.slow  # those tests alone have the extra `privacy`
def test_a_private_one_is_not(config, tmp_path, monkeypatch, capsys):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'jaxlm[privacy]'")
    private = dataclasses.replace(config, privacy=Privacy(epsilon=0.5, delta=1e-3))
    train(build, private, tmp_path / "private")
    assert audited(monkeypatch, capsys, tmp_path / "private")[0] == 0
    assert json.loads((tmp_path / "private" / "audit.json").read_text())["auc"] < 0.55


def test_bad_input_is_one_line(config, tmp_path, monkeypatch, capsys):
    code, said = audited(monkeypatch, capsys, tmp_path / "nothing")
    assert code == 2
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    code, said = audited(monkeypatch, capsys, tmp_path, "--examples", "1")
    assert (code, said.err) == (2, "error: --examples is 1: give at least 2\n")
