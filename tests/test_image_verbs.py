"""The verbs that look at image classifiers: eval --report, predict, crossval; and runs that stop early."""

import dataclasses
import json
import math
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report

from digit_runs import DIGITS, SMALL, jaxlm, refused, told
from evaluated import evaluated_logits, predicted_logits
from jaxlm import load
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.train.recorder import Recorder
from whole_path import ROOT, TEXT, run_main, shrunk


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


def test_an_evaluation_on_other_data_is_that_of_those_data(run, language, tmp_path):
    plain = jaxlm("eval", run)[1]
    assert jaxlm("eval", run, "--data.eval-batch", 7)[1] == plain
    text, other = (tmp_path / name for name in ("same.txt", "other.txt"))
    shutil.copy(TEXT, text)
    other.write_text("".join(reversed(TEXT.read_text())))
    whole = jaxlm("eval", language)[1]
    assert jaxlm("eval", language, "--data.path", text)[1] == whole
    assert jaxlm("eval", language, "--data.path", other)[1] != whole


def test_an_evaluation_changes_nothing_that_was_trained(run, language):
    assert "--optim.peak-lr is not of an evaluation" in refused("eval", run, "--optim.peak-lr", "1")
    assert "there is no field data.eval_bach" in refused("eval", run, "--data.eval-bach", "1")

    def other_tokenizer(config):
        return dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=Characters()))

    with pytest.raises(BadInput, match=r"these data have another tokenizer\.json"):
        Recorder.existing(language, other_tokenizer)


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
    state = Checkpoints(run / "checkpoints").restore_raw(20)
    variables = {"params": state["params"], **state["variables"]}
    logits = RunDirectory(run).config().model.apply(variables, (images / np.float32(255) - 0.5) / 0.5, train=False)
    accuracy = (np.asarray(logits).argmax(-1) == true).mean()
    assert f"eval/accuracy {accuracy:.6g} (update 20)" in jaxlm("eval", run, "--params")[1].splitlines()
    assert jaxlm("eval", run, "--params")[1] != jaxlm("eval", run)[1]


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


def test_json_lines_are_the_answers_of_the_loaded_run(run, files):
    expected = probabilities(run, files[1])
    code, out, _ = jaxlm("predict", run, *files[0], "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert answers == load(run)([str(path) for path in files[0]])
    for row, answer in zip(expected, answers, strict=True):
        shares = answer["probabilities"]
        assert list(shares) == [str(k) for k in range(10)]
        assert answer["label"] == str(row.argmax())
        assert answer["probability"] == max(shares.values())
        assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(list(shares.values()), row, rtol=1e-4, atol=1e-6)
    assert told(jaxlm("predict", run, *files[0], "--json", "--step", 15)[1]) != told(out)
    best = told(jaxlm("predict", run, *files[0], "--json", "--top", 3)[1])
    assert [list(few.values()) for few in best] == [sorted(row.values())[:-4:-1] for row in told(out)]


def test_answers_are_bit_for_bit_those_of_the_evaluation(run, tmp_path):
    images = np.round(load_digits().images[1437:] * (255 / 16)).astype(np.uint8)
    paths = [tmp_path / f"{number:03}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = np.stack(list(evaluated_logits(run, 20)))
    assert np.array_equal(np.stack(predicted_logits(run, paths)), expected)
    assert np.array_equal(np.stack(predicted_logits(run, images[..., None])), expected)
    sums = Recorder.existing(run)
    counts = np.asarray(sums.sums(sums.restore(20))["eval"]["confusion"].counts)
    labels = [int(answer["label"]) for answer in load(run)(paths)]
    assert np.bincount(labels, minlength=10).tolist() == counts.sum(0).tolist()


def test_bytes_paths_and_arrays_of_an_image_have_one_answer(run, files):
    path, image = files[0][3], files[1][3]
    answers = load(run)([path, str(path), path.read_bytes(), image, image[..., 0]])
    assert all(answer == answers[0] for answer in answers)
    with pytest.raises(BadInput, match="input 1: an image of float64"):
        load(run)([image, image / 255])
    with pytest.raises(BadInput, match="give a list of inputs"):
        load(run)(str(path))
    with pytest.raises(BadInput, match="has no option length: it has top"):
        load(run)([path], length=3)


def test_a_file_alone_is_told_as_among_others_in_any_order(run, files):
    all_of_them = told(jaxlm("predict", run, *files[0], "--json")[1])
    assert told(jaxlm("predict", run, *files[0][::-1], "--json")[1]) == all_of_them[::-1]
    for number in (0, 7, 39):
        (alone,) = told(jaxlm("predict", run, files[0][number], "--json")[1])
        assert alone == pytest.approx(all_of_them[number], rel=1e-5)
        (alone,) = told(jaxlm("predict", run, files[0][number], "--json", "--batch", 40)[1])
        assert alone == told(jaxlm("predict", run, *files[0], "--json", "--batch", 40)[1])[number]


def test_images_of_other_sizes_and_in_colour_are_brought_into_the_form_of_the_training_images(run, files, tmp_path):
    large = Image.open(files[0][3]).resize((16, 16), Image.Resampling.NEAREST).convert("RGB")
    large.save(tmp_path / "large.png")
    code, out, _ = jaxlm("predict", run, tmp_path / "large.png", "--json")
    pixels = np.asarray(large.convert("L").resize((8, 8), Image.Resampling.BILINEAR))[None, :, :, None]
    assert code == 0
    (row,) = told(out)
    np.testing.assert_allclose(list(row.values()), probabilities(run, pixels)[0], rtol=1e-4, atol=1e-6)
    assert load(run)([np.asarray(large)]) == [json.loads(out)]


def test_a_broken_file_is_named_and_can_be_skipped(run, files, tmp_path):
    cut, words, folder = tmp_path / "cut.png", tmp_path / "words.png", tmp_path / "folder"
    cut.write_bytes(files[0][0].read_bytes()[:60])
    words.write_text("no image")
    folder.mkdir()
    good = files[0][:2]
    for broken in (cut, words, folder, tmp_path / "gone.png"):
        assert f"error: {broken}: not a readable image (" in refused("predict", run, good[0], broken, good[1])
    both = refused("predict", run, cut, good[0], words)
    assert both.startswith(f"error: 2 of 3 inputs cannot be read: {cut}: not a readable image (")
    assert f"; {words}: not a readable image (" in both
    code, out, err = jaxlm("predict", run, cut, good[0], folder, good[1], words, "--skip-broken", "--json")
    assert code == 0
    lines = out.splitlines()
    assert [lines[1], lines[3]] == jaxlm("predict", run, *good, "--json", "--batch", 8)[1].splitlines()
    assert all("not a readable image" in json.loads(lines[place])["error"] for place in (0, 2, 4))
    assert [line.split()[1].rstrip(":") for line in err.splitlines()] == [str(x) for x in (cut, folder, words)]
    code, out, err = jaxlm("predict", run, cut, "--skip-broken")
    assert (code, out) == (2, "")
    assert err.endswith("error: none of the inputs can be read\n")


def test_files_of_paths_are_read_by_column(run, files, tmp_path):
    table, lines = tmp_path / "table.csv", tmp_path / "paths.txt"
    table.write_text("name,path\n" + "".join(f"{path.stem},{path}\n" for path in files[0][:3]))
    lines.write_text("".join(f"{path}\n" for path in files[0][:3]))
    expected = jaxlm("predict", run, *files[0][:3], "--json")
    assert jaxlm("predict", run, "--file", table, "--column", "path", "--json") == expected
    assert jaxlm("predict", run, "--file", lines, "--json") == expected
    assert "has the columns name, path: name the one" in refused("predict", run, "--file", table)
    assert "has no 'label' (it has name, path)" in refused("predict", run, "--file", table, "--column", "label")
    assert "there is no file" in refused("predict", run, "--file", tmp_path / "gone.csv")
    assert "nothing to predict for" in refused("predict", run)


def test_runs_that_cannot_predict_are_told(run, language, files, tmp_path):
    file = files[0][0]
    assert "nowhere is not a run directory" in refused("predict", "nowhere", file)
    assert f"{language} is not a run of a classifier: leave --proba out" in refused("predict", language, "a", "--proba")
    assert "has no option temperature: it has top" in refused("predict", run, file, "--temperature", 1)
    assert "has no checkpoint at update 7: it has" in refused("predict", run, file, "--step", 7)
    old = tmp_path / "old"
    shutil.copytree(run, old)
    kept = RunDirectory(old).experiment
    kept.write_text(kept.read_text().replace("def predictor(", "def other("))
    assert "defines no predictor(config, run): add one" in refused("predict", old, file)
    code, out, err = jaxlm("eval", language, "--report")
    assert code == 2
    assert "eval/loss" in out
    assert f"error: {language} is not a run of a classifier: leave --report out\n" == err


def test_the_table_shows_every_class_where_that_is_asked_for(run, files):
    code, out, _ = jaxlm("predict", run, files[0][0], "--proba")
    assert code == 0
    assert out.split()[1::2] == [str(k) for k in range(10)]
