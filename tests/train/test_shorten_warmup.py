"""A run that is made short warms up in proportion, and one that is not keeps the warm-up of its config."""

import argparse
import dataclasses

import pytest

from jaxlm.ablate.arms import typed
from jaxlm.train.config import load_config, parse_command
from jaxlm.verbs.ablate import read_arms
from whole_path import ROOT

EXPERIMENT = ROOT / "experiments" / "image_classification.py"
CONFIG = str(ROOT / "configs" / "cnn_digits.py")


def warmup(*words):
    return parse_command([CONFIG, *words], "program", EXPERIMENT)[1].optim.warmup


def test_only_a_run_that_would_warm_up_for_most_of_its_time_is_changed_and_says_so(capsys):
    base = load_config(CONFIG)
    assert warmup() == warmup("--run.steps", str(2 * base.optim.warmup)) == base.optim.warmup
    assert capsys.readouterr().out == ""
    assert warmup("--run.steps", "20") == max(base.optim.warmup * 20 // base.run.steps, 1)
    assert f"optim.warmup {base.optim.warmup} becomes" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--optim.warmup", "15"), ("--optim.warmup=15",)])
def test_a_warm_up_that_is_given_is_kept(words, capsys):
    assert warmup("--run.steps", "20", *words) == 15
    assert capsys.readouterr().out == ""


def test_the_shortened_schedule_fits_the_run():
    config = parse_command([CONFIG, "--run.steps", "3"], "program", EXPERIMENT)[1]
    dataclasses.replace(config.optim).validate(config.run.steps)


def test_the_words_of_every_cell_of_an_ablation_repeat_it_by_hand():
    vary = ["run.steps=30,100,700", "optim.warmup=7", "optim.peak_lr=0.5"]
    args = argparse.Namespace(config=CONFIG, mode="one-at-a-time", vary=vary, vary_seed=None, directory="d", only=[])
    words = ["--run.steps", "60"]
    base, arms, _ = read_arms(args, words)
    assert base == parse_command([CONFIG, *words], "program", EXPERIMENT)[1]
    assert base.optim.warmup == warmup(*words) < load_config(CONFIG).optim.warmup
    for arm in arms:
        cell = arm.config(base)
        by_hand = typed([*words, *arm.words], cell.optim.warmup)
        assert parse_command([CONFIG, *by_hand], "program", EXPERIMENT)[1] == cell
