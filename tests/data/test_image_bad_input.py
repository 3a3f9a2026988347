"""Images that cannot be used: one BadInput of one line, that says what is wrong, where, and how to mend it."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from jaxlm.data.image_folder import ImageFolder
from jaxlm.data.image_source import Decoded
from jaxlm.data.image_specs import ArrayImages, Digits, TfdsImages
from jaxlm.errors import BadInput


def refused(make, *patterns):
    """Assert that BadInput is raised with one line that has all of the patterns."""
    with pytest.raises(BadInput) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for pattern in patterns:
        assert re.search(pattern, message), message
    return message


def png(seed=0, size=(6, 8)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def encoded(kind, **options):
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (9, 99, 200)).save(file, kind, **options)
    return file.getvalue()


BROKEN = {
    "truncated.jpg": (encoded("JPEG")[:-200], "truncated"),
    "truncated.png": (png()[:60], "truncated|broken|Truncated"),
    "text.png": (b"this is no image\n", "no format that Pillow knows"),
    "empty.jpg": (b"", "an empty file"),
    "bomb.bmp": (
        b"BM" + bytes(8) + (54).to_bytes(4, "little") + b"\x28\0\0\0" + b"\xff\xff\0\0" * 2 + b"\1\0\x18\0" + bytes(24),
        "exceeds limit",
    ),
}


@pytest.fixture
def folder(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(6):
            (tmp_path / name / f"{number}.png").write_bytes(png(number))
    return tmp_path


def spec(folder, **fields):
    return ImageFolder(path=str(folder), **{"size": 8, "batch": 2, **fields})


# Folders.


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("crop", ["squash", "random"])
def test_a_broken_image_is_named(folder, name, crop):
    content, reason = BROKEN[name]
    (folder / "bee" / name).write_bytes(content)
    data = spec(folder, crop=crop, batch=10, eval_batch=4)
    message = refused(
        lambda: [data.train(0)[0], data.train(0)[1], data.eval()[0]],
        f"^{re.escape(str(folder / 'bee' / name))} is no readable image",
        reason,
        "mend or remove it$",
    )
    assert "0x" not in message  # no addresses


def test_broken_images_are_left_out_named_and_counted(folder, capsys):
    for name, (content, _) in BROKEN.items():
        (folder / "bee" / name).write_bytes(content)
    data = spec(folder, broken="skip")
    data.check(2)
    assert len(data.train(0).source) + len(data.eval().source) == 12
    err = capsys.readouterr().err
    assert err.startswith(f"skipped 5 of 17 images in {folder} that are broken: ")
    assert all(f"bee/{name}" in err for name in BROKEN)
    assert err.count("\n") == 1


def test_of_many_broken_images_the_first_are_named(folder, capsys):
    for number in range(20):
        (folder / "ant" / f"x{number:02}.png").write_bytes(b"no")
    spec(folder, broken="skip").check(2)
    err = capsys.readouterr().err
    assert err.startswith(f"skipped 20 of 32 images in {folder}")
    assert err.endswith("ant/x07.png and 12 more\n")


def test_whole_images_are_skipped_without_a_word(folder, capsys):
    spec(folder, broken="skip").check(2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("names", [("ant",), ("bee",), ("ant", "bee")])
def test_a_class_of_broken_images_only_is_refused_when_they_are_skipped(folder, names, capsys):
    for name in names:
        for path in (folder / name).iterdir():
            path.write_bytes(b"no image")
    refused(
        spec(folder, broken="skip").load, f"^{folder} has no image of {', '.join(names)} that is not broken: add some$"
    )
    assert f"skipped {6 * len(names)} of 12 images" in capsys.readouterr().err


def test_an_image_that_goes_away_or_cannot_be_read_is_named(folder):
    data = spec(folder, crop="random", batch=9)
    batches = data.train(0)
    for path in (folder / "ant").iterdir():
        path.unlink()
    refused(lambda: batches[0], r"an image cannot be read \(.*No such file.*ant/\d.png", "mend or remove it")
    (folder / "ant" / "0.png").symlink_to(folder / "nowhere.png")
    refused(spec(folder, eval_share=0.5).load, "cannot be read|fewer|has 1 images")


def test_folders_without_the_form_of_one_are_refused(folder):
    refused(spec(folder / "nowhere").load, f"^there is no folder {folder}/nowhere: give one with a sub-folder")
    refused(spec(folder / "ant").load, f"^{folder}/ant has no sub-folders: make one for each class")
    (folder / "cat").mkdir()
    refused(spec(folder).load, f"^{folder}/cat has no images \\(.jpg.*: add some or remove the folder$")


def test_an_image_alone_in_its_class_is_refused(folder):
    (folder / "cat").mkdir()
    (folder / "cat" / "0.png").write_bytes(png())
    refused(spec(folder).load, "^class cat has 1 images to train and to evaluate on: add some$")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_that_is_none_is_refused(folder, share):
    refused(spec(folder, eval_share=share).load, f"a share of {share} of the images for evaluation: give one between")


def test_parts_with_other_classes_are_refused(folder):
    (folder / "all" / "train").mkdir(parents=True)
    (folder / "all" / "val").mkdir()
    (folder / "ant").rename(folder / "all" / "train" / "ant")
    (folder / "bee").rename(folder / "all" / "train" / "bee")
    refused(spec(folder / "all").load, f"^{folder}/all/val has no sub-folders")
    (folder / "all" / "val" / "ant").mkdir()
    (folder / "all" / "val" / "ant" / "0.png").write_bytes(png())
    refused(
        spec(folder / "all").load, f"^{folder}/all: only one of train and val has the classes bee: give both the same"
    )
    (folder / "all" / "val").rename(folder / "all" / "test")
    refused(spec(folder / "all").load, f"^there is no folder {folder}/all/val")


@pytest.mark.parametrize(("mode", "kind"), [("I", "tiff"), ("F", "tiff")])
def test_numbers_of_unknown_range_are_refused(folder, mode, kind):
    Image.new(mode, (4, 4), 70_000).save(folder / "ant" / f"x.{kind}")
    refused(spec(folder).load, "ant/x.tiff is no readable image", "32 bits a pixel", "convert it to 8 or 16 bits")


def test_whatever_is_cut_off_or_changed_in_a_file_is_an_image_or_bad_input():
    """No file makes anything else of Pillow than pixels or BadInput."""
    numbers = np.random.default_rng(0)
    kinds = ("PNG", "JPEG", "GIF", "WEBP", "PPM")
    files = [encoded(kind) for kind in kinds] + [encoded("BMP")[:400]]
    for content in files:
        for cut in range(0, len(content), max(1, len(content) // 25)):
            read(content[:cut])
        for _ in range(25):
            changed = bytearray(content)
            changed[numbers.integers(40, len(changed))] = numbers.integers(256)
            read(bytes(changed))


class OneFile:
    def __init__(self, content):
        self.content = content

    def __len__(self):
        return 1

    def read(self, rows):
        return [(self.content, 0) for _ in rows]

    def name(self, row):
        return "the file"


def read(content):
    source = Decoded(OneFile(content), 8)
    try:
        found = source.take(np.zeros(1, np.int64), None)
    except BadInput:
        refused(
            lambda: source.take(np.zeros(1, np.int64), None), r"^the file is no readable image \(", "mend or remove"
        )
    else:
        assert found["image"].shape == (1, 8, 8, 3)


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
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, "images are .0, 4, 4., which is none"),
        ({"images": np.array([[[None]]] * 6)}, "is no whole .npz file of `images` and `labels`: make it anew"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changed, pattern):
    refused(arrays(tmp_path, **changed).load, f"^{tmp_path}/train.npz: |^{tmp_path}/train.npz is", pattern)


@pytest.mark.parametrize(
    ("labels", "pattern"),
    [
        ([0, 1, 2, 0, 1, -1], "training split has 1 labels outside of 0 ... 2, the first one -1 at image 5: mend"),
        ([0, 1, 0, 1, 0, 1], "evaluation split has 2 labels outside of 0 ... 1, the first one 2 at image 2: mend"),
        ([0, 0, 2, 0, 0, 2], r"training split has no image of 1 of the 3 classes \(1\): add images"),
        ([0, 1, 2, 3, 4, 4], r"evaluation split has no image of 2 of the 5 classes \(3, 4\): add .* or take"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, pattern):
    data = arrays(tmp_path, labels=np.array(labels))
    refused(lambda: data.train(0), pattern)
    refused(lambda: data.check(3), pattern)


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
        (lambda path: path.write_bytes(b""), "No data left"),
        (lambda path: path.write_text("hello"), "`labels`: make"),
        (lambda path: path.write_bytes(whole(path)[:300]), "not a zip file"),
        (lambda path: path.write_bytes(whole(path)[:200] + b"\1" + whole(path)[201:]), "CRC"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(npy()), "`labels`: make"),
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
        data.load, f"^{tmp_path}/train.npz is no whole .npz file of `images` and `labels`", reason, "make it anew with"
    )


def test_a_missing_npz_is_refused(tmp_path):
    refused(TfdsImages(arrays=str(tmp_path)).load, rf"^there is no file {tmp_path}/train.npz: make it with np.savez")


def test_parts_of_another_shape_are_refused(tmp_path):
    data = arrays(tmp_path, images=np.zeros((6, 5, 4, 3), np.uint8))
    refused(
        lambda: data.check(3),
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
    refused(lambda: Digits(**fields).check(10), pattern)


def test_another_number_of_classes_is_refused():
    refused(
        lambda: Digits().check(3),
        r"^the data has 10 classes \(0, 1, 2, 3, 4, 5, \.\.\.\) and the model 3: set --model.classes 10$",
    )


def test_a_batch_that_is_larger_than_the_data_is_refused(folder):
    refused(
        lambda: Digits(batch=2000).train(0), "a batch of 2000 rows is larger than the 1437 rows .*: lower the batch"
    )
    refused(lambda: spec(folder, batch=64).train(0), "a batch of 64 rows is larger than the 10 rows")
    refused(lambda: Digits(eval_batch=-1).eval(), "a batch of -1 rows: give at least 1")


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
    refused(lambda: TfdsImages(**(splits | fields)).check(10), pattern)


@pytest.mark.usefixtures("tfds_folder")
def test_cross_validation_of_images_that_are_read_one_by_one_is_refused():
    data = TfdsImages(train_split="train[:500]", eval_split="test[:500]", crop="random", folds=5)
    refused(
        lambda: data.train(0), "^cross-validation needs the labels of all images beforehand", "lower --data.size, or"
    )
