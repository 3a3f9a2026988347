"""The range test: update i has its rate and no other, and the suggestion follows from the points alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.models.mlp import MLP
from jaxlm.optim import SGD
from jaxlm.parallel import PlacementSpec
from jaxlm.runs.load import load_module
from jaxlm.train import Config, Run
from jaxlm.train.range_test import RatePoint, has_diverged, range_test, smooth, suggest_rate
from test_list import jaxlm
from whole_path import ROOT

BUILD = load_module(ROOT / "experiments" / "image_classification.py").build
CONFIG = Config(
    model=MLP(classes=10, hidden=(16,)),
    data=Digits(batch=32, eval_batch=360),
    loss=Classification(),
    optim=SGD(peak_lr=5.0, warmup=7),
    run=Run(steps=3),
)


def losses(*words, **changes):
    return [point.loss for point in range_test(BUILD, replace(CONFIG, **changes), *words)]


@pytest.mark.parametrize("place", [PlacementSpec("pmap"), PlacementSpec("mesh", fsdp=2)], ids=lambda p: p.kind)
def test_the_curve_does_not_depend_on_the_placement(place):
    np.testing.assert_allclose(losses(8, 1e-3, 0.1, place=place), losses(8, 1e-3, 0.1), rtol=1e-5)


def test_rates_rise_by_one_factor_and_have_the_effect_of_their_update():
    points = range_test(BUILD, CONFIG, 5, 1e-4, 1.0)
    np.testing.assert_allclose([point.rate for point in points], [1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    tiny = losses(5, 1e-9, 1e-8)  # parameters that all but stay
    assert points[0].loss == tiny[0]  # the loss of an update is that before it
    assert points[3].loss < tiny[3]


def test_the_schedule_and_the_length_of_the_config_are_not_used():
    changed = replace(CONFIG.optim, peak_lr=1e-3, warmup=0, schedule="linear")
    assert losses(4, 1e-3, 0.1, optim=changed, run=Run(steps=900)) == losses(4, 1e-3, 0.1)


def test_a_loss_that_diverges_ends_the_test():
    assert len(range_test(BUILD, CONFIG, 30, 1e-3, 1e6)) < 30


def test_the_smoothed_loss_is_a_weighted_mean():
    points, values = [], [3.0, 1.0, 4.0, 1.5]
    for value in values:
        points.append(smooth(points, 0.1, value))
    weights = 0.9 ** np.arange(len(values))[::-1]
    assert math.isclose(points[-1].smoothed, np.average(values, weights=weights))
    assert points[0].smoothed == values[0]


def test_the_suggestion_is_where_the_loss_falls_fastest_and_a_tenth_of_the_lowest():
    curve = {1e-4: 3.0, 1e-3: 2.9, 1e-2: 1.0, 1e-1: 0.5, 1.0: 9.0}
    points = [RatePoint(rate, loss, loss) for rate, loss in curve.items()]
    assert suggest_rate(points) == (1e-1 / 10, 1e-3)
    assert has_diverged(points)
    assert not has_diverged(points[:-1])
    negative = [RatePoint(1e-3, x, x) for x in (-5.0, -5.2, -6.0, 13.0)]
    assert [has_diverged(negative[:count]) for count in (1, 2, 3, 4)] == [False, False, False, True]
    with pytest.raises(BadInput, match="does not fall"):
        suggest_rate([*points[-1:], RatePoint(2.0, 10.0, 10.0)])


@pytest.mark.parametrize("words", [(1, 1e-3, 1.0), (5, 1.0, 1e-3), (5, 0.0, 1.0), (5, 1e-3, math.inf)])
def test_rates_that_do_not_rise_are_refused(words):
    with pytest.raises(BadInput, match="rates that rise from above 0"):
        range_test(BUILD, CONFIG, *words)


@pytest.mark.slow
def test_the_verb_prints_a_table_and_writes_every_update(tmp_path):
    done = jaxlm(tmp_path, "lr-find", "cnn_digits", "--updates", "60", "--model.widths", "4", "--run.log-every", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "begin with --optim.peak-lr " in done.stdout
    lines = (tmp_path / "runs" / "lr-find-cnn_digits.csv").read_text().splitlines()
    assert lines[0] == "learning_rate,loss,smoothed"
    assert 30 < len(lines) <= 61
