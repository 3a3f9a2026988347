"""Arrays, fields and TFDS datasets that cannot be used: one BadInput of one line."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refused

from jaxlm.data.images.sources import ArrayImages, Digits, TfdsImages

# Arrays.


def arrays(folder, **changed):
    """Write train.npz and test.npz with what is changed in the first, and return their spec."""
    whole = {"images": np.zeros((6, 4, 4, 3), np.uint8), "labels": np.arange(6) % 3}
    np.savez(folder / "test.npz", **whole)
    np.savez(folder / "train.npz", **(whole | changed))
    return ArrayImages(folder=str(folder), batch=2)


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        (
            {"labels": np.float32([0, 1, 2, 0, 1, 2])},
            "labels are float32 .6., not one integer for each of the 6 images",
        ),
        ({"labels": np.arange(5)}, "labels are int64 .5., not one integer"),
        ({"labels": np.arange(12).reshape(6, 2)}, "labels are int64 .6, 2., not one integer"),
        ({"labels": np.int64([0, 1, 2, 0, 1, 2**32])}, "a label is 4294967296: number the classes from 0"),
        ({"labels": np.int64([0, 1, 2, 0, 1, -(2**32)])}, "a label is -4294967296: number"),
        ({"labels": np.int64([0, 1, 2, 0, 1, 10**9])}, "6 images cannot show 1000000001 classes: number"),
        ({"images": np.zeros((6, 4, 4, 3))}, "images are float64 .6, 4, 4, 3., not uint8 .N, H, W, C."),
        ({"images": np.zeros((6, 4, 4, 3, 1), np.uint8)}, "images are uint8 .6, 4, 4, 3, 1., not"),
        ({"images": np.zeros((6, 16), np.uint8)}, "images are uint8 .6, 16., not"),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, ".0, 4, 4., so there are none"),
        ({"images": np.array([[[None]]] * 6)}, "is not a whole .npz file of `images` and `labels`: write it again"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changed, pattern):
    refused(arrays(tmp_path, **changed).load, f"^{tmp_path}/train.npz: |^{tmp_path}/train.npz is", pattern)


@pytest.mark.parametrize(
    ("labels", "pattern"),
    [
        ([0, 1, 2, 0, 1, -1], "training split has 1 labels outside of 0 ... 2, the first one -1 at image 5: correct"),
        ([0, 1, 0, 1, 0, 1], "evaluation split has 2 labels outside of 0 ... 1, the first one 2 at image 2: correct"),
        ([0, 0, 2, 0, 0, 2], r"training split has no image of 1 of the 3 classes \(1\): add images"),
        ([0, 1, 2, 3, 4, 4], r"evaluation split has no image of 2 of the 5 classes \(3, 4\): add .* or take"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, pattern):
    data = arrays(tmp_path, labels=np.array(labels))
    refused(lambda: data.train(0), pattern)
    refused(lambda: data.check(SimpleNamespace(classes=3)), pattern)


def test_labels_beyond_the_names_are_refused(tmp_path):
    arrays(tmp_path)
    data = ArrayImages(folder=str(tmp_path), classes=("x", "y"))
    refused(data.eval, "training split has 2 labels outside of 0 ... 1, the first one 2 at image 2")


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def whole(path):
    return path.with_name("test.npz").read_bytes()


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b""), "not a zip file"),
        (lambda path: path.write_text("hello"), "not a zip file"),
        (lambda path: path.write_bytes(whole(path)[:300]), "not a zip file"),
        (lambda path: path.write_bytes(whole(path)[:200] + b"\1" + whole(path)[201:]), "CRC"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(npy()), "not a zip file"),
        (lambda path: np.savez(path, x=np.zeros(3)), "images is not a file"),
        (lambda path: np.savez(path, images=np.zeros((3, 2, 2), np.uint8)), "labels is not a file"),
    ],
    ids=["empty", "text", "cut off", "a bit flipped", "folder", "npy", "other keys", "no labels"],
)
def test_files_that_are_no_npz_are_refused(tmp_path, write, reason):
    data = arrays(tmp_path)
    (tmp_path / "train.npz").unlink()
    write(tmp_path / "train.npz")
    refused(
        data.load, f"^{tmp_path}/train.npz is not a whole .npz file of `images` and `labels`", reason, "write it again"
    )


def test_a_missing_npz_is_refused(tmp_path):
    refused(TfdsImages(arrays=str(tmp_path)).load, rf"^there is no file {tmp_path}/train.npz: make it with np.savez")


def test_parts_of_another_shape_are_refused(tmp_path):
    data = arrays(tmp_path, images=np.zeros((6, 5, 4, 3), np.uint8))
    refused(
        lambda: data.check(SimpleNamespace(classes=3)),
        r"training images are \[5, 4, 3\] and evaluation images \[4, 4, 3\] .*: resize or convert",
    )


# What does not fit the model or the run.


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"mean": (0.1, 0.2, 0.3)}, "^data.mean has 3 numbers and the images have 1 channels: give one number, or"),
        ({"std": (0.1, 0.2)}, "^data.std has 2 numbers and the images have 1 channels: give"),
        ({"mean": ()}, "^data.mean has 0 numbers"),
        ({"std": (0.0,)}, r"^data.std is \(0.0,\): give numbers above 0"),
        ({"folds": 1}, "^data.folds is 1: give at least 2, or 0 for no cross-validation$"),
        ({"folds": -3}, "^data.folds is -3: give at least 2"),
        ({"folds": 3, "fold": 3}, "^data.fold is 3 and data.folds 3: give a fold from 0 to 2$"),
        ({"folds": 3, "fold": -1}, "^data.fold is -1 and data.folds 3: give a fold from 0 to 2$"),
        ({"folds": 500}, "^class 8 has 1.. training images, fewer than 500 folds: take fewer folds$"),
        ({"fold": 2}, "^data.fold is 2 and data.folds 0: set --data.folds, at least 2$"),
    ],
)
def test_fields_that_do_not_fit_the_data_are_refused(fields, pattern):
    refused(lambda: Digits(**fields).check(SimpleNamespace(classes=10)), pattern)


def test_another_number_of_classes_is_refused():
    refused(
        lambda: Digits().check(SimpleNamespace(classes=3)),
        r"^the data has 10 classes \(0, 1, 2, 3, 4, 5, \.\.\.\) and the model 3: set --model.classes 10$",
    )


# TFDS.


@pytest.fixture
def tfds_folder(real_data, monkeypatch):
    if not (real_data / "tfds" / "mnist").is_dir():
        pytest.skip("JAXLM_TEST_DATA has no tfds/mnist")
    monkeypatch.setenv("TFDS_DATA_DIR", str(real_data / "tfds"))


@pytest.mark.usefixtures("tfds_folder")
@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"name": "cifer10"}, "^the TFDS dataset 'cifer10' is not prepared in .*: run `python scripts/prepare_tfds.py"),
        ({"train_split": "trian"}, "^mnist has no split 'trian': it has train, test, and slices that are not empty$"),
        ({"eval_split": "test[:0]"}, r"^mnist has no split 'test\[:0\]': it has"),
        ({"train_split": "train[:"}, r"^mnist has no split 'train\[:': it has"),
        (
            {"train_split": "train[:5]"},
            r"^the training split has no image of 5 of the 10 classes \(2, 3, 5, 6, 9\): add",
        ),
        ({"name": "glue/sst2"}, "^glue/sst2 has no `image` with a `label`: it has idx, label, sentence$"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(fields, pattern):
    splits = {"train_split": "train[:500]", "eval_split": "test[:500]"}
    refused(lambda: TfdsImages(**(splits | fields)).check(SimpleNamespace(classes=10)), pattern)


@pytest.mark.usefixtures("tfds_folder")
def test_cross_validation_of_images_that_are_read_one_by_one_is_refused():
    data = TfdsImages(train_split="train[:500]", eval_split="test[:500]", crop="random", folds=5)
    refused(
        lambda: data.train(0), "^cross-validation needs the labels of all images beforehand", "lower --data.size, or"
    )
