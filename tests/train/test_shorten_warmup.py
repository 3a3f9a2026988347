"""A run that is made short warms up in proportion, and one that is not keeps the warm-up of its config."""

import dataclasses

import pytest

from jaxlm.train.config import load_config, parse_command
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
