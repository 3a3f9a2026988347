"""An image run with batch statistics, an average, augmentation and dropout resumes bit for bit, wherever it stopped."""

import shutil

import pytest

from jaxlm.train.replay.resume import verify_resume
from test_resume import records
from whole_path import ROOT, SHORT, final_bits, run_main

DIGITS = ("image_classification.py", ROOT / "configs" / "cnn_digits.py")
TINY = (
    "--model.widths 4 --model.hidden 8 --model.dropout 0.2 --run.ema 0.9 --run.save-every 1 --run.keep-last 99".split()
)


@pytest.fixture(
    scope="module", params=["local", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mesh", "pmap"))]
)
def whole(request, tmp_path_factory):
    """20 updates and a checkpoint after each."""
    words = [*SHORT, *TINY, "--place.kind", request.param, "--data.eval-batch", "40"]
    directory = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, *DIGITS, *words, "--run.directory", str(directory))
    return words, directory


@pytest.mark.parametrize("step", [0, 1, 7, 10, 19])
def test_resuming_gives_the_same_bits_and_the_same_records(whole, step, tmp_path, monkeypatch):
    words, finished = whole
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    for path in (directory / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    run_main(monkeypatch, *DIGITS, *words, "--run.directory", str(directory))
    bits = final_bits(directory)
    assert bits == final_bits(finished)
    assert {"variables", "ema"} <= {name.split("/")[0] for name in bits}
    assert records(directory) == records(finished)


@pytest.mark.slow
def test_killed_three_times_it_ends_in_the_same_bits(tmp_path):
    experiment, config = ROOT / "experiments" / DIGITS[0], DIGITS[1]
    words = ["--run.steps", "300", "--run.ema", "0.9", "--model.dropout", "0.2", "--run.save-every", "20"]
    assert verify_resume(str(experiment), str(config), words, 3, 0, str(tmp_path)) == 0
