"""`jaxlm crossval`, and runs that stop early."""

import json
import os
import signal

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from digit_runs import DIGITS, SMALL, jaxlm, refused
from jaxlm.errors import BadInput
from jaxlm.interrupt import Stopped, exit_code
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.seal import read_seal
from jaxlm.runs.settings import Run
from jaxlm.verbs.crossval import final_value
from whole_path import ROOT, final_bits, run_main

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
    rows = [line.split() for line in table.splitlines()[:5]]
    assert rows[:4] == [["fold", "eval/accuracy"], *([str(k), f"{x:.4f}"] for k, x in enumerate(values))]
    assert rows[4] == ["mean", f"{np.mean(values):.4f}"]
    assert f"Standard deviation {np.std(values, ddof=1):.4f}, " in table
    assert f"95 % t-interval of the mean {low:.4f} to {high:.4f}." in table


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
    assert again.splitlines()[-7:] == out.splitlines()[-7:]
    assert ([path.read_bytes() for path in names], [final_bits(path.parent) for path in names]) == before
    other = jaxlm(*FOLDS, "--directory", directory, *SMALL, "--metric", "eval/loss")[1]
    assert ["2", f"{last(directory / 'fold-2', 'eval/loss'):.4f}"] in [line.split() for line in other.splitlines()]


def test_what_cannot_be_cross_validated_is_told(crossed, tmp_path):
    experiment, config = FOLDS[1:3]
    place = ("--directory", tmp_path / "folds")
    assert "--folds 1: give at least 2" in refused("crossval", experiment, config, "--folds", 1, *place)
    assert "there is no config file gone.py" in refused("crossval", experiment, "gone.py", *place)
    text = ROOT / "configs" / "gpt_stdlib.py"
    message = refused("crossval", ROOT / "experiments" / "language_model.py", text, *place)
    assert f"the data of {text} cannot be cut in folds: those of images, questions and tables can" in message
    code, _, err = jaxlm("crossval", experiment, config, "--folds", 999, *place)
    assert code == 2
    assert "training images, fewer than 999 folds: take fewer folds" in err
    assert not (tmp_path / "folds").exists()
    code, _, err = jaxlm(*FOLDS, "--directory", crossed[0], *SMALL, "--metric", "eval/beauty")
    assert code == 2
    assert "has no metric eval/beauty: choose one that its metrics.jsonl has" in err


@pytest.mark.parametrize("update", [10, 20])
def test_a_signal_ends_it_without_a_table_whether_it_cuts_a_fold_or_comes_at_its_end(update, monkeypatch, tmp_path):
    append = RunDirectory.append_metrics

    def signalled(self, step, metrics):
        append(self, step, metrics)
        if step == update and "eval/loss" in metrics:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunDirectory, "append_metrics", signalled)
    with pytest.raises(Stopped) as raised:  # `jaxlm` exits with the code of it
        jaxlm(*FOLDS, "--directory", tmp_path / "folds", *SMALL)
    assert exit_code(raised.value) == 143
    assert sorted(path.name for path in (tmp_path / "folds").iterdir()) == ["fold-0"]
    assert Checkpoints(tmp_path / "folds" / "fold-0" / "checkpoints").steps()[-1] == update


def test_a_fold_that_diverged_has_no_value_rather_than_its_last_finite_one(tmp_path):
    run_dir, run = RunDirectory(tmp_path), Run(metric="eval/loss")
    records = [
        {"step": 1, "eval/loss": 0.5, "eval/accuracy": 0.75},
        {"step": 2, "eval/loss": None, "eval/accuracy": 0.25},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(BadInput, match="eval/loss at the end of .* is not finite: lower the learning rate"):
        final_value(run_dir, "eval/loss", run)
    assert final_value(run_dir, "eval/accuracy", run) == 0.25
    assert final_value(run_dir, "eval/accuracy", Run(metric="eval/loss", patience=3)) == 0.75  # at the best loss


EARLY = [*SMALL, *"--run.steps 40 --run.eval-every 2 --run.save-every 2 --run.patience 3 --optim.peak-lr 0.01".split()]
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
    assert final_value(home, "eval/loss", home.config().run) == values[best] != values[end]
    assert final_value(home, "eval/accuracy", home.config().run) == accuracies[best] != accuracies[end]

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
    words = (*EARLY, "--model.norm", "none", "--optim.peak-lr", "0", "--run.patience", "2")
    code, out, _ = jaxlm(*FOLDS[:-1], 2, "--directory", tmp_path / "folds", *words)
    assert code == 0
    assert out.count("stopped early: eval/accuracy has not improved for 2 evaluations") == 2
    for fold in range(2):
        home = RunDirectory(tmp_path / "folds" / f"fold-{fold}")
        assert [record["step"] for record in home.metrics() if "eval/accuracy" in record] == [2, 4, 6]
        assert Checkpoints(home.checkpoints).steps() == [2, 4, 6]
    values = [last(tmp_path / "folds" / f"fold-{fold}", "eval/accuracy") for fold in range(2)]
    assert json.loads((tmp_path / "folds" / "crossval.json").read_text())["values"] == values
