"""Schedules against arithmetic done by hand, and the laws that hold for all of them."""

import math
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optim_helpers import run, tree

from jaxlm.errors import BadInput
from jaxlm.optim import SGD, Adafactor, AdamW, Group, Muon, fraction_of_peak

SHAPES = ("constant", "linear", "cosine", "wsd", "rsqrt")
PEAK = 0.5


def by_hand(shape, count):
    """The rate at one count of: peak 0.5, 110 steps, warm-up 10, floor 0.1, cooldown 0.2 (22 updates)."""
    expected = {
        "constant": {0: 0.5 * 1 / 11, 4: 0.5 * 5 / 11, 10: 0.5, 60: 0.5, 110: 0.5, 500: 0.5},
        "linear": {0: 0.5 / 11, 10: 0.5, 35: 0.5 * (1 - 0.9 / 4), 60: 0.5 * (1 - 0.9 / 2), 110: 0.05, 500: 0.05},
        "cosine": {
            0: 0.5 / 11,
            10: 0.5,
            35: 0.5 * (0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2),  # a quarter of the way: cos(pi / 4)
            60: 0.5 * (0.1 + 0.9 / 2),  # half the way: cos(pi / 2) = 0
            110: 0.05,
            500: 0.05,
        },
        "wsd": {0: 0.5 / 11, 10: 0.5, 60: 0.5, 88: 0.5, 99: 0.5 * (1 + 0.1) / 2, 110: 0.05, 500: 0.05},
        "rsqrt": {0: 0.5 / 11, 10: 0.5, 40: 0.25, 90: 0.5 / 3, 110: 0.5 * math.sqrt(10 / 110), 5000: 0.05},
    }
    return expected[shape][count] if count is not None else tuple(expected[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_schedule_has_the_values_computed_by_hand(shape):
    rate = AdamW(peak_lr=PEAK, warmup=10, schedule=shape, final_fraction=0.1, cooldown=0.2).learning_rate(110)
    for count in by_hand(shape, None):
        np.testing.assert_allclose(rate(count), by_hand(shape, count), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_warm_up_the_first_update_has_the_peak(shape):
    assert float(AdamW(peak_lr=PEAK, schedule=shape).learning_rate(100)(0)) == PEAK


@given(
    shape=st.sampled_from(SHAPES),
    warmup=st.integers(0, 50),
    left=st.integers(20, 200),
    floor=st.floats(0, 1, width=32),
    cooldown=st.floats(0, 0.25),
)
@settings(max_examples=20, deadline=None)
def test_every_schedule_rises_to_its_peak_and_then_never_rises(shape, warmup, left, floor, cooldown):
    fraction = fraction_of_peak(shape, warmup + left, warmup, floor, cooldown)
    curve = np.asarray(fraction(np.arange(251)))[: warmup + left + 1]  # one length of array: compiled once
    np.testing.assert_allclose(curve[: warmup + 1], np.arange(1, warmup + 2) / (warmup + 1), rtol=1e-5)
    assert (np.diff(curve[warmup:]) <= 1e-6).all()
    assert curve.min() > 0 or floor == 0
    if shape in ("linear", "cosine", "wsd"):
        np.testing.assert_allclose(curve[-1], floor, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_of_counts_gives_what_single_counts_give(shape):
    rate = AdamW(warmup=3, schedule=shape).learning_rate(20)
    np.testing.assert_allclose(rate(np.arange(20)), [rate(count) for count in range(20)], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rate_in_the_state_follows_the_schedule(shape):
    spec = SGD(peak_lr=PEAK, warmup=3, schedule=shape, cooldown=0.5)
    tx, rate = spec(8), jax.jit(spec.learning_rate(8))
    params, opt_state = tree(), tx.init(tree())
    assert opt_state.hyperparams["learning_rate"] == rate(0)
    for count in range(8):
        params, opt_state = run(tx, params, [tree(count)], opt_state)
        np.testing.assert_allclose(opt_state.hyperparams["learning_rate"], rate(count), rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "steps", "complaint"),
    [
        (AdamW(warmup=11), 10, "warmup of 11 and cooldown of 0 updates do not fit into 10 steps"),
        (AdamW(warmup=90, schedule="wsd"), 100, "warmup of 90 and cooldown of 20 updates"),
        (AdamW(warmup=-1), 10, "warmup is -1"),
        (AdamW(), 0, "steps is 0"),
        (AdamW(peak_lr=-1e-3), 10, "peak_lr is -0.001"),
        (AdamW(peak_lr=math.nan), 10, "peak_lr is nan"),
        (AdamW(weight_decay=-0.1), 10, "weight_decay is -0.1"),
        (AdamW(l1=-0.1), 10, "l1 is -0.1"),
        (AdamW(clip_norm=-1.0), 10, "clip_norm is -1.0"),
        (AdamW(eps=-1.0), 10, "eps is -1.0"),
        (AdamW(b1=1.0), 10, "b1 is 1.0"),
        (AdamW(b2=-0.5), 10, "b2 is -0.5"),
        (SGD(momentum=1.0), 10, "momentum is 1.0"),
        (SGD(nesterov=True), 10, "nesterov needs a momentum"),
        (Adafactor(block_clip=0.0), 10, "block_clip is 0.0"),
        (Muon(by_adam="("), 10, "by_adam is '('"),
        (Muon(consistent_rms=0.0), 10, "consistent_rms is 0.0"),
        (AdamW(final_fraction=1.5), 10, "final_fraction is 1.5"),
        (AdamW(schedule="cosin"), 10, "schedule is 'cosin': it must be one of constant, linear, cosine, wsd, rsqrt"),
        (AdamW(groups=(Group("all", "["),)), 10, "the pattern of group 'all' is '['"),
        (AdamW(groups=(Group("all", rate=-1.0),)), 10, "group 'all' has rate -1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(spec, steps, complaint):
    with pytest.raises(BadInput, match=re.escape(complaint)) as refusal:
        spec(steps)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match=re.escape(complaint)):
        spec.learning_rate(steps)
