"""A detector as a whole run: it learns to find what is there, says where, and draws it."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxlm
from scenes import NAMES, scenes
from shrunk_detectors import detector_words
from test_text_to_image_experiment import jaxlm as command
from whole_path import ROOT, losses, run_main

FCOS = ("detection.py", ROOT / "configs" / "fcos_coco.py")
MORE = "--model.widths 8 8 16 16 --model.width 16 --run.steps 300 --run.eval-every 300 --run.save-every 300 "
MORE += "--run.preview-every 300 --run.log-every 100 --optim.peak-lr 2e-2 --run.ema 0.9 "
MORE += "--data.augment.1.low 0.8 --data.augment.1.high 1.2"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = [*detector_words("fcos_coco", folder), *MORE.split(), "--run.directory", str(folder / "run")]
        run_main(monkeypatch, *FCOS, *words)
    return folder / "run"


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A scene of twice the size, and its boxes."""
    path = tmp_path_factory.mktemp("scene") / "cells.png"
    image, boxes, classes = scenes(1, seed=5)[0]
    Image.fromarray(image).resize((128, 96), Image.Resampling.NEAREST).save(path)
    return path, 2 * boxes, classes


def test_it_learns_and_draws_what_it_found(trained):
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    found = [record["boxes/map50"] for record in records if "boxes/map50" in record]
    assert found[-1] > 0.5
    names = sorted(path.name for path in (trained / "previews").iterdir())
    assert names == [f"000300-image-{number}.png" for number in range(4)]


def test_boxes_are_answered_in_the_pixels_of_the_file(trained, picture):
    path, boxes, classes = picture
    (answer,) = jaxlm.load(trained)([str(path)])
    assert (answer["width"], answer["height"]) == (128, 96)
    (again,) = jaxlm.load(trained)([np.asarray(Image.open(path))])
    assert again == answer
    best = {}
    for one in answer["boxes"]:
        for place, box in enumerate(boxes):
            if np.abs(np.array(one["box"]) - box).max() < 10:
                best.setdefault(place, one["label"])
    assert len(best) >= len(boxes) - 1
    assert all(label == NAMES[classes[place]] for place, label in best.items())
    few = jaxlm.load(trained)([str(path)], score=0.99)[0]["boxes"]
    assert len(few) < len(answer["boxes"])


def test_the_command_line_prints_boxes_and_draws_them(trained, picture, tmp_path, monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, "predict", trained, picture[0])
    assert code == 0
    assert f"{picture[0]}  " in out
    assert "[" in out
    words = ("predict", trained, picture[0], "--output", tmp_path / "drawn", "--score", 0.2, "--json")
    code, out, _ = command(monkeypatch, capsys, *words)
    assert code == 0
    answer = json.loads(out)
    with Image.open(answer["picture"]) as drawn, Image.open(picture[0]) as given:
        assert drawn.size == given.size
        assert (np.asarray(drawn.convert("RGB")) != np.asarray(given)).any()
    code, _, error = command(monkeypatch, capsys, "predict", trained, picture[0], "--score", 2)
    assert code == 2
    assert "score is 2.0: give a number from 0 to below 1" in error


@pytest.mark.slow
def test_every_placement_and_micro_batch_trains_to_the_same_losses(tmp_path, monkeypatch):
    words = [*detector_words("fcos_coco", tmp_path), "--data.eval-batch", "4"]
    for name, more in (("one", ""), ("mesh", "--place.kind mesh"), ("pmap", "--place.kind pmap --run.accumulate 2")):
        run_main(monkeypatch, *FCOS, *words, *more.split(), "--run.directory", str(tmp_path / name))
        np.testing.assert_allclose(losses(tmp_path / name), losses(tmp_path / "one"), rtol=1e-3)
