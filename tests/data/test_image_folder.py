"""Folders of images: what torchvision finds in them, and the parts of which they are made."""

import dataclasses
import json
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from random_pixels import pixels

from jaxlm.data.images.folder import ImageFolder
from jaxlm.data.images.labelled import stratified_share


def put(folder, name, seed=0, shape=(6, 8)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(*shape, seed=seed)).save(path)


def torchvisions(folder, suffixes=(".png", ".jpg", ".bmp")):
    """(path, label) as `torchvision.datasets.ImageFolder` finds them: `find_classes` and `make_dataset`."""
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return classes, [
        (os.path.join(root, name), label)
        for label, name_of_class in enumerate(classes)
        for root, _, names in sorted(os.walk(os.path.join(folder, name_of_class), followlinks=True))
        for name in sorted(names)
        if name.lower().endswith(suffixes)
    ]


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(["zebra", "Ant", "bee"]):
        for number in range(10 * (label + 1)):
            put(tmp_path / name, f"{number:03}.png", seed=100 * label + number)
        (tmp_path / name / "notes.txt").write_text("no image")
    put(tmp_path / "bee", "deep/er/1.BMP")
    return tmp_path


def test_classes_and_images_are_those_that_torchvision_finds(folder):
    spec = ImageFolder(path=str(folder), size=8, crop="random")
    found = spec.load()
    classes, expected = torchvisions(folder)
    assert list(found.names) == classes == ["Ant", "bee", "zebra"]
    files = found.train.source.files
    assert [(str(path), label) for path, label in zip(files.paths, files.labels, strict=True)] == expected
    assert files.read([0]) == [((folder / "Ant/000.png").read_bytes(), 0)]


def test_what_is_hidden_is_left_out(folder):
    """Other than torchvision, which takes hidden folders for classes and hidden files for images."""
    before = ImageFolder(path=str(folder), size=8).load()
    for name in (".git/a.png", "Ant/.ipynb_checkpoints/a.png", "Ant/._000.png"):
        put(folder, name)
    (folder / "Ant" / "folder.png").mkdir()
    after = ImageFolder(path=str(folder), size=8).load()
    assert before.names == after.names
    assert before.train.fingerprint() == after.train.fingerprint()


@pytest.mark.parametrize("share", [0.2, 0.1, 0.35, 0.9])
def test_without_parts_a_share_of_each_class_is_held_out(folder, share):
    spec = ImageFolder(path=str(folder), size=8, batch=2, eval_fraction=share)
    found = spec.load()
    assert not set(found.train.rows) & set(found.eval.rows)
    assert sorted([*found.train.rows, *found.eval.rows]) == list(range(61))
    counts = Counter(found.eval_labels.tolist())
    for label, whole in enumerate((20, 31, 10)):
        assert abs(counts[label] - share * whole) <= 1
        assert 0 < counts[label] < whole
    assert np.array_equal(spec.load().eval.rows, found.eval.rows)
    spec.check(SimpleNamespace(classes=3))
    assert spec.shape() == (8, 8, 3)


def test_a_share_is_of_every_class():
    labels = np.repeat([0, 1, 2], [2, 50, 1000])
    kept, held = stratified_share(labels, 0.01, "abc")
    assert np.bincount(labels[held]).tolist() == [1, 1, 10]
    assert sorted([*kept, *held]) == list(range(1052))


def test_parts_are_read_where_there_are_some(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(["b", "a"]):
            for number in range(count):
                put(tmp_path / part / name, f"{number}.png", seed=10 * label + number)
    spec = ImageFolder(path=str(tmp_path), size=4, batch=2, channels=1)
    spec.check(SimpleNamespace(classes=2))
    assert spec.names() == ("a", "b")
    assert [len(spec.train(0).source), len(spec.eval().source)] == [6, 4]
    held = spec.eval()[0]
    assert held["image"].shape == (2, 4, 4, 1)
    first = Image.open(tmp_path / "val/a/0.png").convert("L").resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(held["image"][0, ..., 0], np.asarray(first))
    assert held["label"].tolist() == [0, 0]
    (tmp_path / "val").rename(tmp_path / "test")
    assert len(dataclasses.replace(spec, eval_part="test").eval().source) == 4
    kept = json.loads(spec.artefacts()["classes.json"])
    assert kept == {"names": ["a", "b"], "shape": [4, 4, 1], "crop": "squash"}


@pytest.mark.parametrize("crop", ["squash", "random"])
def test_the_fingerprint_changes_with_content_and_form(folder, crop):
    spec = ImageFolder(path=str(folder), size=8, crop=crop)

    def fingerprint(**fields):
        return dataclasses.replace(spec, **fields).load().train.fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    others = {fingerprint(size=4), fingerprint(channels=1), fingerprint(crop="centre"), fingerprint(eval_fraction=0.5)}
    assert len(others | {first}) == 5
    put(folder, "Ant/000.png", seed=999)
    second = fingerprint()
    (folder / "bee/deep/er/1.BMP").rename(folder / "bee/deep/er/2.BMP")
    third = fingerprint()
    assert second != first
    assert (third != second) == (crop == "random")  # in memory it is the pixels that count


def test_an_image_that_moves_to_another_class_changes_the_fingerprint(tmp_path):
    for name in ("a/x/0.png", "a/x/1.png", "a/x/2.png", "b/x/3.png", "b/x/4.png"):
        put(tmp_path, name)
    spec = ImageFolder(path=str(tmp_path), size=4, crop="random")
    before = spec.load().train.source.fingerprint()
    (tmp_path / "a/x/2.png").rename(tmp_path / "b/x/2.png")
    assert spec.load().train.source.fingerprint() != before
