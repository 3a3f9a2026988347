"""What `scripts/score_pictures.py` prints."""

import re

import numpy as np

from jaxlm.runs.load import load_module
from whole_path import ROOT

SCRIPT = load_module(ROOT / "scripts" / "score_pictures.py")


def test_agreement_is_counted_by_class():
    line = SCRIPT.agreement("pictures", np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), ("cat", "dog"))
    assert line == "pictures: the classifier agrees on 3 of 4, 75.00% (cat 50.0%, dog 100.0%)"


def test_distances_are_printed_with_the_network_and_the_floor():
    draw = np.random.default_rng(0)
    real, other, made = draw.normal(size=(300, 3)), draw.normal(size=(300, 3)), draw.normal(2, 1, size=(300, 3))
    line = SCRIPT.distances("CNN of runs/x", made, real, other)
    assert line.startswith("in the 3 features of CNN of runs/x, 300 against 300 real images: Frechet distance ")
    numbers = [float(found) for found in re.findall(r"-?\d+\.\d+", line)]
    assert 11 < numbers[0] < 13.5
    assert numbers[1] < 0.3
    assert numbers[2] > 100 * abs(numbers[3])
