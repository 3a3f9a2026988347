"""The verbs that look at image classifiers: eval --report, predict, crossval; and runs that stop early."""

import contextlib
import io
import json
import math
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report

from jaxlm import cli
from jaxlm.train.checkpoint import Checkpoints
from jaxlm.train.run_directory import RunDirectory
from jaxlm.train.seal import read_seal
from jaxlm.verbs.crossval import result
from whole_path import ROOT, SHORT, final_bits, run_main, shrunk

DIGITS = ("image_classification.py", ROOT / "configs" / "cnn_digits.py")
SMALL = [*"--model.widths 4 8 --model.hidden 16".split(), *SHORT]


def jaxlm(*words):
    """Run a command line in this process: (exit code, output, error)."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *map(str, words)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code, out.getvalue(), err.getvalue()


def refused(*words):
    """The one line of a command line that cannot work."""
    code, out, err = jaxlm(*words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    return err


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


def told(out):
    """{file: {class: probability}} of the JSON lines."""
    records = map(json.loads, out.splitlines())
    return {record["file"]: {c["name"]: c["probability"] for c in record["classes"]} for record in records}


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


FOLDS = ("crossval", ROOT / "experiments" / DIGITS[0], DIGITS[1], "--folds", "3")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A cross-validation with 3 folds: its directory and what it printed."""
    directory = tmp_path_factory.mktemp("crossval") / "folds"
    code, out, err = jaxlm(*FOLDS, "--directory", directory, *SMALL)
    assert code == 0, err
    return directory, out


def last(directory, metric):
    return [record[metric] for record in RunDirectory(directory).metrics() if metric in record][-1]


def test_the_table_holds_the_folds_and_scipys_mean_deviation_and_interval(crossed):
    directory, out = crossed
    values = [last(directory / f"fold-{fold}", "eval/accuracy") for fold in range(3)]
    assert len(set(values)) > 1
    record = json.loads((directory / "crossval.json").read_text())
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (record["metric"], record["folds"], record["values"]) == ("eval/accuracy", 3, values)
    np.testing.assert_allclose([record["mean"], record["std"]], [np.mean(values), np.std(values, ddof=1)], rtol=1e-12)
    np.testing.assert_allclose(record["half_width"], (high - low) / 2, rtol=1e-9)
    table = (directory / "crossval.txt").read_text()
    assert out.endswith(table)
    assert table.splitlines()[:4] == ["fold  eval/accuracy", *(f"   {k}  {x:.4f}" for k, x in enumerate(values))]
    assert f"mean  {np.mean(values):.4f}  standard deviation {np.std(values, ddof=1):.4f}, " in table
    assert f"95 % t-interval {low:.4f} to {high:.4f}\n" in table


def test_the_folds_hold_out_every_training_image_once(crossed):
    held, kept = [], []
    for fold in range(3):
        home = RunDirectory(crossed[0] / f"fold-{fold}")
        data = home.config().data
        assert (data.folds, data.fold) == (3, fold)
        batches = data.eval()
        assert home.lineage()["sessions"][0]["data"]["eval"] == batches.fingerprint()
        for batch in (batches[i] for i in range(len(batches))):
            held += [image.tobytes() for image, mask in zip(batch["image"], batch["mask"], strict=True) if mask]
        kept.append(sum(batch["mask"].sum() for batch in (batches[i] for i in range(len(batches)))))
    digits = load_digits()
    whole = np.round(digits.images[:1437] * (255 / 16)).astype(np.uint8)
    assert sorted(held) == sorted(image.tobytes() for image in whole)
    assert max(kept) - min(kept) <= 10


def test_running_it_again_trains_nothing_anew_and_tells_the_same(crossed):
    directory, out = crossed
    names = [directory / f"fold-{fold}" / "metrics.jsonl" for fold in range(3)]
    before = [path.read_bytes() for path in names], [final_bits(path.parent) for path in names]
    code, again, _ = jaxlm(*FOLDS, "--directory", directory, *SMALL)
    assert code == 0
    assert again.count("going on from update 20") == 3
    assert again.splitlines()[-6:] == out.splitlines()[-6:]
    assert ([path.read_bytes() for path in names], [final_bits(path.parent) for path in names]) == before
    other = jaxlm(*FOLDS, "--directory", directory, *SMALL, "--metric", "eval/loss")[1]
    assert f"   2  {last(directory / 'fold-2', 'eval/loss'):.4f}" in other


def test_what_cannot_be_cross_validated_is_told(crossed, tmp_path):
    experiment, config = FOLDS[1:3]
    place = ("--directory", tmp_path / "folds")
    assert "--folds 1: give at least 2" in refused("crossval", experiment, config, "--folds", 1, *place)
    assert "there is no file gone.py" in refused("crossval", experiment, "gone.py", *place)
    text = ROOT / "configs" / "gpt_stdlib.py"
    message = refused("crossval", ROOT / "experiments" / "language_model.py", text, *place)
    assert f"the data of {text} cannot be cut in folds: cross-validation is for images" in message
    code, _, err = jaxlm("crossval", experiment, config, "--folds", 999, *place)
    assert code == 2
    assert "training images, fewer than 999 folds: take fewer folds" in err
    assert not (tmp_path / "folds").exists()
    code, _, err = jaxlm(*FOLDS, "--directory", crossed[0], *SMALL, "--metric", "eval/beauty")
    assert code == 2
    assert "has no metric eval/beauty: choose one that its metrics.jsonl holds" in err


EARLY = [*SMALL, *"--run.steps 40 --run.eval-every 2 --run.save-every 2 --run.patience 3 --optim.peak 0.01".split()]
WORST = (*EARLY, "--run.metric", "eval/loss", "--run.maximize")  # which is best at the beginning


@pytest.mark.slow
def test_a_run_that_gets_no_better_stops_early_and_keeps_its_best_checkpoint(tmp_path, monkeypatch, capsys):
    run_main(monkeypatch, *DIGITS, *WORST, "--run.directory", str(tmp_path / "run"))
    home, out = RunDirectory(tmp_path / "run"), capsys.readouterr().out
    values = {record["step"]: record["eval/loss"] for record in home.metrics() if "eval/loss" in record}
    best, end = max(values, key=values.get), max(values)
    assert "stopped early: eval/loss has not improved for 3 evaluations" in out
    assert end == best + 6 < 40
    checkpoints = Checkpoints(home.checkpoints, metric="eval/loss", maximize=True)
    assert checkpoints.steps() == sorted({best, end - 2, end})
    assert checkpoints.best() == best
    assert read_seal(home.checkpoints / str(best))["metrics"]["eval/loss"] == max(values.values())
    assert f"eval/loss {values[best]:.6g} (update {best})" in jaxlm("eval", home.path, "--step", best)[1]

    accuracies = {record["step"]: record["eval/accuracy"] for record in home.metrics() if "eval/loss" in record}
    assert result(home, "eval/loss", home.config().run) == values[best] != values[end]
    assert result(home, "eval/accuracy", home.config().run) == accuracies[best] != accuracies[end]

    before = final_bits(home.path), (home.path / "metrics.jsonl").read_bytes()
    run_main(monkeypatch, *DIGITS, *WORST, "--run.directory", str(tmp_path / "run"))
    told = capsys.readouterr().out
    assert "stopped early: eval/loss has not improved for 3 evaluations" in told
    assert "compiled" not in told
    assert (final_bits(home.path), (home.path / "metrics.jsonl").read_bytes()) == before

    more = (*WORST, "--run.patience", "4", "--run.directory", str(tmp_path / "run"))
    run_main(monkeypatch, *DIGITS, *more)
    assert Checkpoints(home.checkpoints).steps()[-1] == end + 2


@pytest.mark.slow
def test_folds_whose_metric_cannot_improve_stop_early(tmp_path):
    words = (*EARLY, "--model.norm", "none", "--optim.peak", "0", "--run.patience", "2")
    code, out, _ = jaxlm(*FOLDS[:-1], 2, "--directory", tmp_path / "folds", *words)
    assert code == 0
    assert out.count("stopped early: eval/accuracy has not improved for 2 evaluations") == 2
    for fold in range(2):
        home = RunDirectory(tmp_path / "folds" / f"fold-{fold}")
        assert [record["step"] for record in home.metrics() if "eval/accuracy" in record] == [2, 4, 6]
        assert Checkpoints(home.checkpoints).steps() == [2, 4, 6]
    values = [last(tmp_path / "folds" / f"fold-{fold}", "eval/accuracy") for fold in range(2)]
    assert json.loads((tmp_path / "folds" / "crossval.json").read_text())["values"] == values
