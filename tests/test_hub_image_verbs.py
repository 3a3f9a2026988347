"""`jaxlm import` and `jaxlm export` of image classifiers: the head comes along, and an encoder gets one of its own."""

import numpy as np
import pytest

from jaxlm.hub import pretrained, tensors
from jaxlm.models.t5 import T5
from jaxlm.models.vit import ViT
from jaxlm.runs.weights import read_leaves
from test_hub_verbs import assert_same, command, write_model
from whole_path import ROOT

DIGITS = (
    "--config",
    ROOT / "configs" / "cnn_digits.py",
    "--experiment",
    ROOT / "experiments" / "image_classification.py",
)
CLASSIFIER = ViT(10, patch=4, depth=1, width=8, heads=2, image=(8, 8, 1))
ENCODER = CLASSIFIER.clone(classes=0, representation=True)


@pytest.mark.slow
def test_a_classifier_comes_in_with_its_head_and_goes_out_the_same(tmp_path):
    leaves = write_model(tmp_path / "theirs", CLASSIFIER)
    assert command("import", tmp_path / "theirs", *DIGITS, "--directory", tmp_path / "run") == 0
    assert_same({path: np.asarray(leaf) for path, leaf in read_leaves(str(tmp_path / "run"), None).items()}, leaves)
    assert command("export", "--to", "hf", tmp_path / "run", tmp_path / "out") == 0
    assert_same(dict(tensors.Tensors(tmp_path / "out")), dict(tensors.Tensors(tmp_path / "theirs")))
    assert pretrained.load_pretrained(tmp_path / "out").model == pretrained.load_pretrained(tmp_path / "theirs").model


@pytest.mark.slow
def test_an_encoder_comes_in_under_a_new_head(tmp_path):
    leaves = write_model(tmp_path / "theirs", ENCODER)
    words = (*DIGITS, "--directory", tmp_path / "run", "--model.classes", "10")
    assert command("import", tmp_path / "theirs", *words) == 0
    found = read_leaves(str(tmp_path / "run"), None)
    assert found.keys() - leaves.keys() == {"params/head/kernel", "params/head/bias"}
    assert_same({path: np.asarray(found[path]) for path in leaves}, leaves)


def test_a_folder_that_the_config_is_not_for_is_refused_in_one_line(tmp_path, capsys):
    write_model(tmp_path / "theirs", T5(vocab=7, depth=1, width=8, heads=2, hidden=12, head_width=3))
    assert command("import", tmp_path / "theirs", *DIGITS, "--directory", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds a T5, which" in error
    assert "cnn_digits.py is not for" in error
    assert not (tmp_path / "run").exists()
