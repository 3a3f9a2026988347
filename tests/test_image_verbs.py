"""The verbs that look at image classifiers: eval --report, predict, crossval; and runs that stop early."""

import math

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report

from digit_runs import DIGITS, SMALL, jaxlm, refused, told
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.run_directory import RunDirectory
from whole_path import ROOT, run_main, shrunk


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("verbs") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *DIGITS, *SMALL, "--run.ema", "0.5", "--run.directory", str(directory))
    return directory


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A run of a language model."""
    directory = tmp_path_factory.mktemp("language") / "run"
    words = (*shrunk(), "--run.steps", "2", "--run.save-every", "0", "--run.directory", str(directory))
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    return directory


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 PNG files of held-out digits, more than one batch, and their pixels."""
    folder = tmp_path_factory.mktemp("files")
    images = np.round(load_digits().images[1500:1540] * (255 / 16)).astype(np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir()), images[..., None]


def probabilities(run, images, step=20):
    """What a run's averaged model makes of images uint8 [N, 8, 8, 1]: normalised as the config says, by hand."""
    state = Checkpoints(run / "checkpoints").restore_raw(step)
    logits = RunDirectory(run).config().model.apply(state["ema"], (images / np.float32(255) - 0.5) / 0.5, train=False)
    return np.asarray(jax.nn.softmax(logits), np.float64)


def test_the_report_is_scikit_learns_on_predictions_computed_here(run):
    digits = load_digits()
    images = np.round(digits.images[1437:] * (255 / 16)).astype(np.uint8)[..., None]
    predicted, true = probabilities(run, images).argmax(-1), digits.target[1437:]
    assert len(true) == 360
    assert len(set(predicted)) > 3
    code, out, _ = jaxlm("eval", run, "--report")
    assert code == 0
    metrics, _, report = out.partition("\n\n")
    assert report.rstrip("\n") == classification_report(true, predicted, digits=4, zero_division=0).rstrip("\n")
    assert f"eval/accuracy {(predicted == true).mean():.6g} (update 20)" in metrics.splitlines()
    assert jaxlm("eval", run)[1].rstrip("\n") == metrics
    assert jaxlm("eval", run, "--report", "--step", 15)[1] != out


def test_a_table_of_predictions_holds_what_the_model_gives(run, files):
    expected = probabilities(run, files[1])
    code, out, err = jaxlm("predict", run, *files[0], "--top", 3)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 40
    for path, line, row in zip(files[0], lines, expected, strict=True):
        file, *cells = line.split()
        assert file == str(path)
        assert len(cells) == 6
        assert [int(name) for name in cells[::2]] == list(np.argsort(-row)[:3])
        np.testing.assert_allclose([float(p) for p in cells[1::2]], np.sort(row)[::-1][:3], atol=6e-5)
    assert [line.split()[:3] for line in jaxlm("predict", run, *files[0])[1].splitlines()] == [
        line.split()[:3] for line in lines
    ]


def test_json_lines_hold_all_classes_whose_probabilities_sum_to_one(run, files):
    expected = probabilities(run, files[1])
    code, out, _ = jaxlm("predict", run, *files[0], "--json", "--top", 10)
    found = told(out)
    assert code == 0
    assert list(found) == [str(path) for path in files[0]]
    for row, classes in zip(expected, found.values(), strict=True):
        assert list(classes.values()) == sorted(classes.values(), reverse=True)
        assert math.fsum(classes.values()) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose([classes[str(k)] for k in range(10)], row, rtol=1e-4, atol=1e-6)
    assert told(jaxlm("predict", run, *files[0], "--json", "--top", 99)[1]) == found
    assert told(jaxlm("predict", run, *files[0], "--json", "--top", 10, "--step", 15)[1]) != found


def test_a_file_alone_is_told_as_among_others_in_any_order(run, files):
    all_of_them = told(jaxlm("predict", run, *files[0], "--json", "--top", 10)[1])
    for number in (0, 7, 39):
        alone = told(jaxlm("predict", run, files[0][number], "--json", "--top", 10)[1])
        assert alone == {str(files[0][number]): all_of_them[str(files[0][number])]}
    assert told(jaxlm("predict", run, *files[0][::-1], "--json", "--top", 10)[1]) == all_of_them


def test_images_of_other_sizes_and_in_colour_are_brought_into_the_form_of_the_training_images(run, files, tmp_path):
    large = Image.open(files[0][3]).resize((16, 16), Image.Resampling.NEAREST).convert("RGB")
    large.save(tmp_path / "large.png")
    code, out, _ = jaxlm("predict", run, tmp_path / "large.png", "--json", "--top", 10)
    pixels = np.asarray(large.convert("L").resize((8, 8), Image.Resampling.BILINEAR))[None, :, :, None]
    assert code == 0
    row = told(out)[str(tmp_path / "large.png")]
    np.testing.assert_allclose([row[str(k)] for k in range(10)], probabilities(run, pixels)[0], rtol=1e-4, atol=1e-6)


def test_a_broken_file_is_named_and_can_be_skipped(run, files, tmp_path):
    cut, words, folder = tmp_path / "cut.png", tmp_path / "words.png", tmp_path / "folder"
    cut.write_bytes(files[0][0].read_bytes()[:60])
    words.write_text("no image")
    folder.mkdir()
    good = files[0][:2]
    for broken in (cut, words, folder, tmp_path / "gone.png"):
        assert f"error: {broken} is no readable image (" in refused("predict", run, good[0], broken, good[1])
    code, out, err = jaxlm("predict", run, cut, good[0], folder, good[1], words, "--skip-broken", "--json")
    assert code == 0
    assert out == jaxlm("predict", run, *good, "--json")[1]
    assert [line.split()[1].rstrip(":") for line in err.splitlines()] == [str(x) for x in (cut, folder, words)]
    code, out, err = jaxlm("predict", run, cut, "--skip-broken")
    assert (code, out) == (2, "")
    assert err.endswith("error: none of the files is a readable image\n")


def test_runs_that_cannot_predict_are_told(run, language, files, tmp_path):
    file = files[0][0]
    assert "nowhere is not a run directory" in refused("predict", "nowhere", file)
    assert f"{language} has no classes.json: it is no run of a classifier" in refused("predict", language, file)
    assert "has no checkpoint at update 7: it has" in refused("predict", run, file, "--step", 7)
    code, out, err = jaxlm("eval", language, "--report")
    assert code == 2
    assert "eval/loss" in out
    assert f"error: {language} is no run of a classifier: leave --report out\n" == err
