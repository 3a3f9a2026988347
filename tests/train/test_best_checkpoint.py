"""The best checkpoint: which one it is, that it is kept, that what is not finite never is it, and how it is used."""

import argparse
import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import builder, config, records

from jaxlm.ablate.run import is_better_larger
from jaxlm.errors import BadInput
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.seal import read_seal
from jaxlm.runs.weights import read_run
from jaxlm.steps import Mean
from jaxlm.train import Evaluation, InitFrom, Run, train
from jaxlm.verbs import options


def scripted(*values, name="loss"):
    """A build whose evaluation at update 2 k is the k-th of these values."""
    table = jnp.asarray(values, jnp.float32)

    def evaluations(config, place):
        def outputs(state, batch):
            return {name: Mean(table[state.step // 2 - 1] * batch["mask"].sum(), batch["mask"].sum())}

        return {"eval": Evaluation(config.data.eval(), outputs)}

    return builder(evaluations=evaluations, init_from=lambda config, place: config.init)


def kept(directory):
    return Checkpoints(directory / "checkpoints").steps()


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("eval/accuracy", True),
        ("eval/top5_accuracy", True),
        ("eval/entity_f1", True),
        ("eval/f1_macro", True),
        ("shifted/precision_macro", True),
        ("eval/mcc", True),
        ("dev/bleu", True),
        ("dev/rougeL", True),
        ("dev/recall@5", True),
        ("dev/map", True),
        ("eval/caption_at_5", True),
        ("eval/loss", False),
        ("eval/perplexity", False),
        ("eval/calibration_error", False),
        ("eval/mapping_error", False),
        ("eval/wer", False),
        ("accuracy/loss", False),
    ],
)
def test_the_name_of_a_metric_says_whether_more_of_it_is_better(metric, larger):
    assert Run(metric=metric).higher_is_better == larger
    assert Run(metric=metric, maximize=True).higher_is_better
    assert is_better_larger(metric, Run(metric="eval/other", maximize=True)) == larger
    assert is_better_larger(metric, Run(metric=metric, maximize=True))


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("loss", (math.nan, 3, 1, 2, math.nan), 6),
        ("loss", (-math.inf, 3, 1, math.nan, 2), 6),
        ("accuracy", (math.nan, 0.1, 0.9, 0.2, 0.3), 6),
        ("accuracy", (0.9, math.inf, 0.1, 0.9, 0.3), 2),
    ],
)
def test_the_best_is_kept_and_is_never_one_that_is_not_finite(name, values, best, tmp_path, capsys):
    words = {"steps": 10, "keep_last": 1, "metric": f"eval/{name}"}
    train(scripted(*values, name=name), config(**words), tmp_path)
    assert kept(tmp_path) == sorted({best, 10})
    value = f"{values[best // 2 - 1]:.4g}, the {'lowest' if name == 'loss' else 'highest'}"
    assert f"best eval/{name} {value}, at update {best} (use it with --step best)" in capsys.readouterr().out


def test_evaluations_that_are_not_finite_count_toward_patience_and_are_said(tmp_path, capsys):
    values = (2, 1, math.nan, math.inf, -math.inf, 0.5, 0.1)
    found = train(scripted(*values), config(steps=14, patience=3, keep_last=1), tmp_path)
    reason = "stopped early: eval/loss has not improved for 3 evaluations, and the last 3 of them are not finite"
    assert (found.completed, found.ended, found.reason) == (10, "stopped", reason)
    assert kept(tmp_path) == [4, 10]
    assert f"{reason}\nbest eval/loss 1, the lowest, at update 4 (use it with --step best)" in capsys.readouterr().out


def test_a_run_whose_evaluations_are_never_finite_stops(tmp_path):
    found = train(scripted(*[math.nan] * 7), config(steps=14, patience=2), tmp_path)
    assert (found.completed, found.ended) == (4, "stopped")


def test_patience_that_would_keep_nothing_is_refused(tmp_path):
    with pytest.raises(BadInput, match="^run.patience keeps the best checkpoint, and run.keep_best is 0"):
        train(builder(), config(patience=1, keep_best=0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_whose_last_evaluation_is_not_finite_can_be_started_again(tmp_path, capsys):
    build = scripted(1, 2, math.nan)
    train(build, config(), tmp_path)
    before = records(tmp_path)
    assert train(build, config(), tmp_path).ended == "finished"
    assert records(tmp_path) == before
    assert "eval/loss nan" in capsys.readouterr().out


def test_an_evaluation_after_the_last_save_is_in_the_last_seal(tmp_path):
    settings = {"steps": 15, "eval_every": 10, "save_every": 5, "keep_last": 1}
    train(builder(), config(**settings), tmp_path)
    seals = {step: read_seal(tmp_path / "checkpoints" / str(step))["metrics"] for step in kept(tmp_path)}
    measured = {record["step"]: record["eval/loss"] for record in records(tmp_path) if "eval/loss" in record}
    assert set(measured) == {10, 15}
    assert seals[15] == {"eval/loss": measured[15]}
    assert min(measured, key=measured.get) in seals


def test_an_evaluation_that_is_made_after_a_restart_is_added_to_the_seal(tmp_path):
    def fails(config, place):
        def score(found, batch):
            raise ZeroDivisionError

        return {"eval": Evaluation(config.data.eval(), lambda state, batch: batch["y"], score)}

    with pytest.raises(ZeroDivisionError):
        train(builder(evaluations=fails), config(eval_every=0), tmp_path)
    assert read_seal(tmp_path / "checkpoints" / "6")["metrics"] == {}
    train(builder(), config(eval_every=0), tmp_path)
    assert read_seal(tmp_path / "checkpoints" / "6")["metrics"] == {"eval/loss": records(tmp_path)[-1]["eval/loss"]}


def test_the_best_checkpoint_can_be_read_and_trained_from(tmp_path):
    build, source = scripted(3, 1, 2), tmp_path / "source"
    train(build, config(keep_last=1), source)
    saved = Checkpoints(source / "checkpoints").restore_raw(4)["params"]
    jax.tree.map(np.testing.assert_array_equal, read_run(RunDirectory(source), "best")["params"], saved)
    settings = dataclasses.replace(config(steps=1, save_every=1), init=InitFrom(str(source), "best"))
    starts = []

    def remember(config, place):
        return lambda state: starts.append(jax.device_get(state.params)) or {}

    frozen = dataclasses.replace(settings, optim=dataclasses.replace(settings.optim, peak_lr=0.0))
    train(builder(init_from=lambda config, place: config.init, preview=remember), frozen, tmp_path / "tuned")
    jax.tree.map(np.testing.assert_array_equal, starts[-1], saved)
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["init"]["step"] == "best"


def test_step_is_a_number_or_best():
    assert (options.step("best"), options.step("12")) == ("best", 12)
    for text in ("newest", "-1", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="give the number of updates at the checkpoint, or best"):
            options.step(text)
