"""Boxes of every layout are the same; they follow their image onto a canvas and through every augmentation."""

import json
import os

import jax
import numpy as np
import pytest

from jaxlm.data.boxes import CocoBoxes, TfdsBoxes, VocBoxes
from jaxlm.data.boxes.augment import FlipBoxes, Light, ScaleBoxes, augment_boxes
from jaxlm.errors import BadInput
from scenes import NAMES, scenes, write_coco, write_voc


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("boxes")
    write_coco(home / "train", 6)
    write_coco(home / "eval", 5, seed=1)
    write_voc(home / "voc", {"train": (6, 0), "val": (5, 1)})
    return home


def coco(home, **fields):
    files = {
        f"{part}_{name}": str(home / part / file)
        for part in ("train", "eval")
        for name, file in (("images", "images"), ("file", "instances.json"))
    }
    return CocoBoxes(**{"size": (48, 64), "batch": 2, "most": 4, **files, **fields})


def extent(image):
    """The box around the bright pixels of a column of a scene."""
    lit = image.astype(np.float64).max(-1) > 127
    y, x = np.nonzero(lit)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def test_coco_and_voc_give_the_boxes_that_were_written(folders):
    voc = VocBoxes(path=str(folders / "voc"), size=(48, 64), batch=2, most=4)
    for spec in (coco(folders), voc):
        assert spec.names() == NAMES
        for rows, seed, count in ((spec.loaded().train, 0, 6), (spec.loaded().eval, 1, 5)):
            batch = rows.take(np.arange(count), None)
            for row, (image, boxes, classes) in enumerate(scenes(count, seed=seed)):
                np.testing.assert_allclose(batch["boxes"][row, : len(boxes)], boxes)
                assert batch["classes"][row].tolist() == [*classes.tolist(), *[-1] * (4 - len(boxes))]
                assert np.abs(batch["image"][row].astype(int) - image).mean() < 4  # JPEG in one of them


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no prepared TFDS data")
def test_the_real_set_is_read():
    spec = TfdsBoxes(name="bccd", size=(120, 160), batch=4, broken="skip")
    found = spec.loaded()
    assert (len(found.train), len(found.eval)) == (205, 72)
    assert spec.names() == ("RBC", "WBC", "Platelets")
    assert found.notes == ("train: 1 boxes of no area, left out",)
    batch = found.train.take(np.arange(2), None)
    assert batch["extent"].tolist() == [[160, 120]] * 2
    with pytest.raises(
        BadInput, match="of no area in an image of 640 x 480: correct it, take it out, or set --data.br"
    ):
        TfdsBoxes(name="bccd").loaded()


@pytest.mark.parametrize("size", [(48, 64), (24, 64), (100, 100), (30, 37)])
def test_boxes_follow_their_image_onto_a_canvas_of_any_shape(folders, size):
    rows = coco(folders, size=size).loaded().train
    batch = rows.take(np.arange(6), None)
    for row in range(6):
        there = batch["classes"][row] >= 0
        wide, high = batch["extent"][row].astype(int)
        assert wide == size[1] or high == size[0]
        assert not batch["image"][row, high:].any()
        assert not batch["image"][row, :, wide:].any()
        boxes = batch["boxes"][row, there]
        around = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        np.testing.assert_allclose(extent(batch["image"][row]), around, atol=1.5)


FLIPS = {"left to right": FlipBoxes(1.0, 0.0), "upside down": FlipBoxes(0.0, 1.0), "drawn": FlipBoxes(0.5, 0.5)}
SCALES = {"smaller": ScaleBoxes(0.5, 0.9), "larger": ScaleBoxes(1.2, 2.0, visible=0.99), "light": Light(0.05, 0.2)}


@pytest.mark.parametrize("name", [*FLIPS, *SCALES])
def test_boxes_follow_every_augmentation_as_the_pixels_do(folders, name):
    operation = {**FLIPS, **SCALES}[name]
    rows = coco(folders).loaded().train
    batch = {key: x for key, x in rows.take(np.arange(6), None).items() if key in ("image", "boxes", "classes")}
    batch["keys"] = np.random.default_rng(3).integers(0, 2**32, (6, 2), np.uint32)
    apply = jax.jit(lambda batch: augment_boxes((operation,), batch))
    found, changed = jax.device_get(apply(batch)), 0
    for row in range(6):
        for place in np.flatnonzero(batch["classes"][row] >= 0):
            if found["classes"][row, place] < 0:
                assert name == "larger"
                continue
            left, top, right, bottom = box = found["boxes"][row, place]
            low, high = np.maximum(np.floor(box[:2] - 2), 0).astype(int), np.ceil(box[2:] + 2).astype(int)
            part = found["image"][row, low[1] : high[1], low[0] : high[0]] * 255
            lit = extent(part) + np.tile(low, 2)
            sides = zip(lit, (left, top, right, bottom), (0, 0, 64, 48), strict=True)
            assert all(abs(seen - side) <= 1.6 or side == edge for seen, side, edge in sides), (row, place)
            changed += not np.allclose(box, batch["boxes"][row, place])
    assert changed or name in ("light",)
    again = jax.device_get(
        jax.jit(lambda batch: augment_boxes((operation,), batch))({k: x[2:4] for k, x in batch.items()})
    )
    np.testing.assert_allclose(again["boxes"], found["boxes"][2:4], atol=1e-4)
    np.testing.assert_allclose(again["image"], found["image"][2:4], atol=1e-5)


def test_a_box_of_which_little_is_left_is_taken_out():
    boxes = np.tile(np.array([[[0.0, 0.0, 8.0, 8.0]]], np.float32), (200, 1, 1))
    batch = {"image": np.zeros((200, 16, 16, 3), np.uint8), "boxes": boxes, "classes": np.zeros((200, 1), np.int32)}
    batch["keys"] = np.random.default_rng(0).integers(0, 2**32, (200, 2), np.uint32)
    found = jax.device_get(augment_boxes((ScaleBoxes(2.0, 2.0, visible=0.5),), batch))
    box, kept = found["boxes"][:, 0], found["classes"][:, 0] >= 0
    left = (box[:, 2:] - box[:, :2]).prod(1) / 256
    assert 0.1 < kept.mean() < 0.9
    assert (left[kept] >= 0.5).all()
    assert (left[~kept] < 0.5).all()


BROKEN = {
    "box": ({"bbox": [3, 3, 0, 5]}, r"0.png: box 0 is \[3.0, 3.0, 3.0, 8.0\] .*, of no area in an image of 64 x 48"),
    "outside": ({"bbox": [70, 3, 5, 5]}, "of no area in an image of 64 x 48"),
    "image": ({"image_id": 99}, "annotation 0 is of an image or a category that is not there"),
    "category": ({"category_id": 99}, "annotation 0 is of an image or a category that is not there"),
    "word": ({"bbox": "wide"}, "is not a COCO detection file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(folders, tmp_path, name):
    changes, message = BROKEN[name]
    write_coco(tmp_path / "train", 2)
    path = tmp_path / "train" / "instances.json"
    whole = json.loads(path.read_text())
    whole["annotations"][0] |= changes
    path.write_text(json.dumps(whole))
    spec = coco(folders, train_file=str(path), train_images=str(tmp_path / "train" / "images"))
    with pytest.raises(BadInput, match=message):
        spec.loaded()


def test_an_image_of_another_size_than_its_annotation_is_named(folders, tmp_path):
    write_coco(tmp_path / "train", 3)
    path = tmp_path / "train" / "instances.json"
    whole = json.loads(path.read_text())
    whole["images"][1] |= {"width": 128, "height": 96}  # as before it was made smaller
    path.write_text(json.dumps(whole))
    spec = coco(folders, train_file=str(path), train_images=str(tmp_path / "train" / "images"))
    with pytest.raises(BadInput, match=r"1.png is 64 x 48 and its annotation is for 128 x 96 pixels: give the image"):
        spec.loaded()


def test_images_without_boxes_are_told_and_too_many_boxes_are_refused(folders, tmp_path):
    write_coco(tmp_path / "train", 3)
    path = tmp_path / "train" / "instances.json"
    whole = json.loads(path.read_text())
    whole["annotations"] = [one for one in whole["annotations"] if one["image_id"] != 8]
    path.write_text(json.dumps(whole))
    files = {"train_file": str(path), "train_images": str(tmp_path / "train" / "images")}
    assert any("1 images without a box" in line for line in coco(folders, **files).log_lines())
    with pytest.raises(BadInput, match="boxes and data.most is 1: set --data.most"):
        coco(folders, most=1).loaded()
    (tmp_path / "train" / "images" / "1.png").unlink()
    with pytest.raises(BadInput, match=r"1 of 3 annotated images are not there, the first of them .*1.png: add them"):
        coco(folders, **files, most=5).loaded()


def test_a_document_type_in_xml_is_refused(tmp_path):
    write_voc(tmp_path / "voc", {"train": (1, 0), "val": (1, 1)})
    path = tmp_path / "voc" / "Annotations" / "train_0.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY b "ha">]>' + path.read_text())
    with pytest.raises(BadInput, match="train_0.xml declares a document type"):
        VocBoxes(path=str(tmp_path / "voc")).loaded()
    path.write_text("<annotation><size><width>3</width></size></annotation>")
    with pytest.raises(BadInput, match=r"train_0.xml is not a Pascal VOC annotation \(no size/height\): repair it"):
        VocBoxes(path=str(tmp_path / "voc")).loaded()
