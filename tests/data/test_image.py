"""Images and their labels as they come from files, arrays and TFDS, against Pillow, NumPy and scikit-learn."""

import dataclasses
import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxlm.data import batches
from jaxlm.data.arrays import Table
from jaxlm.data.augment import normalise
from jaxlm.data.image import Images, Labelled, stratified_fold, stratified_share
from jaxlm.data.image_folder import ImageFolder
from jaxlm.data.image_source import Decoded, draw_words, random_rectangle, window
from jaxlm.data.image_specs import ArrayImages, Digits, TfdsImages
from jaxlm.data.order import Epoch
from jaxlm.errors import BadInput

ROWS = 23
random = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbered(Images):
    """Images of one pixel, which is the number of the row; three classes in turn."""

    def load(self):
        rows = np.arange(ROWS)
        table = Table({"image": rows.astype(np.uint8).reshape(-1, 1, 1, 1), "label": (rows % 3).astype(np.int32)})
        return Labelled(table, table.arrays["label"], table, table.arrays["label"], ("a", "b", "c"))


@dataclasses.dataclass(frozen=True)
class InMemory:
    """Image files in memory; the label is the number of the file."""

    files: tuple[bytes, ...]

    def __len__(self):
        return len(self.files)

    def read(self, rows):
        return [(self.files[row], row) for row in rows]

    def name(self, row):
        return f"file {row}"

    def identity(self):
        return "in memory"


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(*files, **options):
    source = Decoded(InMemory(files), **{"size": None, **options})
    return source.take(np.arange(len(files)), None)["image"]


def pixels(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


# Draws.


def draws_of(data, stop):
    """The draws of each row in the order of epochs: {(epoch, row): words}."""
    found, place = {}, 0
    for index in range(stop):
        batch = data[index]
        assert (batch["draws"].shape, batch["draws"].dtype) == ((data.batch, 2), np.uint32)
        for row, words in zip(batch["image"].ravel(), batch["draws"], strict=True):
            found[place // ROWS, int(row)] = tuple(words.tolist())
            place += 1
    return found


@settings(max_examples=15)
@given(st.integers(1, ROWS), st.integers(1, ROWS), st.integers(0, 2**40))
def test_draws_are_a_function_of_seed_epoch_and_row(batch, other, seed):
    found = draws_of(Numbered(batch=batch).train(seed), 3 * ROWS // batch + 1)
    for (epoch, row), words in found.items():
        assert words == tuple(draw_words(Epoch(seed, epoch), ROWS)[row].tolist())
    for key, words in draws_of(Numbered(batch=other).train(seed), 40 // other + 1).items():
        assert found.get(key, words) == words
    assert len(set(found.values())) == len(found)  # no two are alike, within an epoch or between two
    assert not set(found.values()) & set(draws_of(Numbered(batch=batch).train(seed + 1), 2).values())


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_do_not_depend_on_threads_and_workers(workers):
    data = Numbered(batch=6).train(3)
    found = list(batches(data, 2, 9, threads=2, workers=workers))
    assert len(found) == 7
    for index, batch in enumerate(found, 2):
        same(batch, data[index])


@pytest.mark.parametrize("count", [2, 3])
def test_shards_have_the_draws_of_their_rows(count):
    data = Numbered(batch=6).train(4)
    for index in range(9):
        for part in range(count):
            same(data.shard(part, count)[index], {name: x[part::count] for name, x in data[index].items()})


def test_evaluation_has_every_image_once_and_no_draws():
    found = list(Numbered(batch=6).eval())
    assert all(set(batch) == {"image", "label", "mask"} for batch in found)
    mask = np.concatenate([batch["mask"] for batch in found])
    assert (len(mask), mask.sum()) == (24, ROWS)
    assert np.array_equal(np.concatenate([batch["image"].ravel() for batch in found])[mask > 0], np.arange(ROWS))
    assert Numbered(batch=6, eval_batch=4).eval()[0]["image"].shape == (4, 1, 1, 1)


# Decoding.

GREY, COLOUR, ALPHA = pixels(5, 7, 1), pixels(5, 7, 3, seed=1), pixels(5, 7, 1, seed=2)
PALETTE = random.permutation(np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(256, 3))
OVER_WHITE = np.round((COLOUR * (ALPHA / 255)) + 255 * (1 - ALPHA / 255))


def palette_image():
    image = Image.frombytes("P", (7, 5), GREY.tobytes())
    image.putpalette(PALETTE.tobytes())
    return image


def clear(index):
    """What a palette image with one transparent entry shows on white."""
    return np.where(index == GREY, np.uint8(255), PALETTE[GREY[..., 0]])


SIXTEEN = GREY[..., 0].astype(np.uint16) * 256 + random.integers(0, 256, (5, 7)).astype(np.uint16)
MODES = {
    "grey": (encoded(Image.fromarray(GREY[..., 0])), np.repeat(GREY, 3, -1), 0),
    "black and white": (encoded(Image.fromarray(GREY[..., 0] > 99)), np.repeat(255 * (GREY > 99), 3, -1), 0),
    "colour": (encoded(Image.fromarray(COLOUR)), COLOUR, 0),
    "palette": (encoded(palette_image()), PALETTE[GREY[..., 0]], 0),
    "palette, one entry transparent": (encoded(palette_image(), transparency=int(GREY[0, 0, 0])), clear(GREY[0, 0]), 0),
    "palette, alpha of entries": (
        encoded(palette_image(), transparency=bytes(range(256))),
        np.round(PALETTE[GREY[..., 0]] * (GREY / 255) + 255 * (1 - GREY / 255)),
        1,
    ),
    "palette, GIF": (encoded(palette_image(), "GIF"), PALETTE[GREY[..., 0]], 0),
    "colour with alpha": (encoded(Image.fromarray(np.concatenate([COLOUR, ALPHA], -1))), OVER_WHITE, 1),
    "colour, one transparent": (
        encoded(Image.fromarray(COLOUR), transparency=tuple(map(int, COLOUR[1, 2]))),
        np.where((COLOUR[1, 2] == COLOUR).all(-1, keepdims=True), 255, COLOUR),
        0,
    ),
    "grey with alpha": (
        encoded(Image.fromarray(np.concatenate([GREY, ALPHA], -1))),
        np.repeat(np.round(GREY * (ALPHA / 255) + 255 * (1 - ALPHA / 255)), 3, -1),
        1,
    ),
    "16 bits, PNG": (encoded(Image.fromarray(SIXTEEN)), np.repeat(SIXTEEN[..., None] >> 8, 3, -1), 0),
    "16 bits, TIFF": (encoded(Image.fromarray(SIXTEEN), "TIFF"), np.repeat(SIXTEEN[..., None] >> 8, 3, -1), 0),
    "16 bits, PGM": (b"P5 7 5 65535\n" + SIXTEEN.astype(">u2").tobytes(), np.repeat(SIXTEEN[..., None] >> 8, 3, -1), 0),
    "16 bits, one transparent": (
        encoded(Image.fromarray(SIXTEEN), transparency=int(SIXTEEN[0, 0])),
        np.repeat(np.where(SIXTEEN[0, 0] == SIXTEEN, 255, SIXTEEN >> 8)[..., None], 3, -1),
        0,
    ),
    "CMYK, JPEG": (
        encoded(Image.new("CMYK", (7, 5), (0, 255, 255, 0)), "JPEG"),
        np.broadcast_to([255, 0, 0], (5, 7, 3)),
        3,
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_colour(mode):
    file, expected, tolerance = MODES[mode]
    (found,) = decoded(file)
    assert (found.dtype, found.shape) == (np.uint8, (5, 7, 3))
    np.testing.assert_allclose(found.astype(int), expected, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_grey_by_the_luma_of_its_colours(mode):
    file, expected, tolerance = MODES[mode]
    (found,) = decoded(file, channels=1)
    assert (found.dtype, found.shape) == (np.uint8, (5, 7, 1))
    luma = np.asarray(expected) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found[..., 0].astype(int), luma, atol=tolerance + 1)


def test_an_orientation_in_the_file_is_not_heeded():
    """As in torchvision's `ImageFolder`, whose loader is `Image.open(path).convert("RGB")`: pixels stay as stored."""
    image = Image.fromarray(COLOUR)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by a quarter to view
    file = encoded(image, exif=exif)
    assert Image.open(io.BytesIO(file)).getexif()[0x0112] == 6
    assert np.array_equal(decoded(file)[0], COLOUR)


# Sizes and crops.


def test_images_of_mixed_sizes_need_a_size():
    files = [encoded(Image.fromarray(pixels(5, 7))), encoded(Image.fromarray(pixels(8, 6)))]
    with pytest.raises(BadInput, match="^file 1 is 6 x 8 and file 0 is 7 x 5: set --data.size to resize all"):
        decoded(*files)
    assert decoded(*files, size=4).shape == (2, 4, 4, 3)


@pytest.mark.parametrize("crop", ["squash", "centre", "random"])
def test_an_image_becomes_square_in_evaluation(crop):
    image = pixels(16, 24)
    box = {"squash": (0, 0, 24, 16), "centre": (4, 0, 20, 16), "random": (5, 1, 19, 15)}[crop]
    assert window((24, 16), crop, None) == box
    expected = Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR, box=box)
    assert np.array_equal(decoded(encoded(Image.fromarray(image)), size=8, crop=crop)[0], np.asarray(expected))


def test_crops_of_the_size_that_is_wanted_are_cut_out_exactly():
    file, image = encoded(Image.fromarray(pixels(16, 24))), pixels(16, 24)
    assert np.array_equal(decoded(file, size=16, crop="centre")[0], image[:, 4:20])
    assert np.array_equal(decoded(file, size=14, crop="random")[0], image[1:15, 5:19])


@settings(max_examples=200)
@given(st.integers(1, 4000), st.integers(1, 4000), st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
@example(1, 1, [2**64 - 1] * 4)
@example(4000, 1, [0] * 4)
@example(3, 7, [2**64 - 1, 0, 2**64 - 1, 2**64 - 1])
def test_random_rectangles_lie_within_the_image_and_their_bounds(width, height, words):
    left, top, right, bottom = random_rectangle(width, height, np.array(words, np.uint64))
    assert 0 <= left < right <= width + 1e-9
    assert 0 <= top < bottom <= height + 1e-9
    wide, high = right - left, bottom - top
    share, ratio = wide * high / (width * height), wide / high
    assert share <= 1 + 1e-9
    if wide < width - 1e-6 and high < height - 1e-6:  # nothing was cut off
        assert share >= 0.08 - 1e-6
        assert 3 / 4 - 1e-3 <= ratio <= 4 / 3 + 1e-3
    Image.new("L", (width, 8)).resize((4, 4), box=(left, 0, right, 8))  # Pillow takes it


def test_random_rectangles_have_all_sizes_aspects_and_places():
    words = Epoch(0, 0).words(4 * 4000, purpose=4).reshape(-1, 4)
    left, top, right, bottom = np.array([random_rectangle(1000, 1000, row) for row in words]).T
    wide, high = right - left, bottom - top
    whole = (wide < 999) & (high < 999)
    assert (wide * high / 1e6)[whole].min() < 0.09
    assert np.median(wide * high / 1e6) == pytest.approx(0.54, abs=0.03)
    assert np.log(wide / high)[whole].mean() == pytest.approx(0, abs=0.02)
    assert np.ptp((wide / high)[whole]) > 0.57
    assert (left / (1000 - wide + 1e-9))[whole].mean() == pytest.approx(0.5, abs=0.03)
    assert (top / (1000 - high + 1e-9))[whole].mean() == pytest.approx(0.5, abs=0.03)


def test_random_crops_are_a_function_of_seed_epoch_and_row():
    source = Decoded(InMemory(tuple(encoded(Image.fromarray(pixels(9, 12, seed=i))) for i in range(6))), 5, 3, "random")
    first = source.take(np.arange(6), Epoch(1, 2))["image"]
    assert np.array_equal(source.take(np.array([4, 1]), Epoch(1, 2))["image"], first[[4, 1]])
    assert np.array_equal(source.take(np.arange(6), Epoch(9, 2, noise=1))["image"], first)
    for other in (Epoch(2, 2), Epoch(1, 3), Epoch(1, 2, noise=9)):
        assert (source.take(np.arange(6), other)["image"] != first).any((1, 2, 3)).all()
    assert np.array_equal(source.take(np.arange(6), None)["image"], source.take(np.arange(6), None)["image"])


# Folders.


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
    spec = ImageFolder(path=str(folder), size=8, batch=2, eval_share=share)
    found = spec.load()
    assert not set(found.train.rows) & set(found.eval.rows)
    assert sorted([*found.train.rows, *found.eval.rows]) == list(range(61))
    counts = Counter(found.eval_labels.tolist())
    for label, whole in enumerate((20, 31, 10)):
        assert abs(counts[label] - share * whole) <= 1
        assert 0 < counts[label] < whole
    assert np.array_equal(spec.load().eval.rows, found.eval.rows)
    spec.check(3)
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
    spec.check(2)
    assert spec.names() == ("a", "b")
    assert [len(spec.train(0).source), len(spec.eval().source)] == [6, 4]
    held = spec.eval()[0]
    assert held["image"].shape == (2, 4, 4, 1)
    first = Image.open(tmp_path / "val/a/0.png").convert("L").resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(held["image"][0, ..., 0], np.asarray(first))
    assert held["label"].tolist() == [0, 0]
    (tmp_path / "val").rename(tmp_path / "test")
    assert len(dataclasses.replace(spec, eval_part="test").eval().source) == 4
    assert spec.description() == {"names": ["a", "b"], "shape": [4, 4, 1], "crop": "squash"}


@pytest.mark.parametrize("crop", ["squash", "random"])
def test_the_fingerprint_changes_with_content_and_form(folder, crop):
    spec = ImageFolder(path=str(folder), size=8, crop=crop)

    def fingerprint(**fields):
        return dataclasses.replace(spec, **fields).load().train.fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    others = {fingerprint(size=4), fingerprint(channels=1), fingerprint(crop="centre"), fingerprint(eval_share=0.5)}
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


# Named sets.


@pytest.fixture
def tfds_folder():
    if not os.environ.get("TFDS_DATA_DIR") or not (Path(os.environ["TFDS_DATA_DIR"]) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR is not set, or has no mnist: run `python scripts/prepare_tfds.py mnist`")


@pytest.mark.usefixtures("tfds_folder")
def test_mnist_is_what_tfds_decodes():
    from jaxlm.data.tfds_text import open_dataset

    spec = TfdsImages(train_split="train[:500]", eval_split="test[:500]", batch=10)
    spec.check(10)
    assert spec.shape() == (28, 28, 1)
    assert spec.names() == tuple("0123456789")
    theirs = open_dataset("mnist").as_data_source("test")
    found = spec.eval()[0]
    for index in range(10):
        assert np.array_equal(found["image"][index], theirs[index]["image"])
        assert found["label"][index] == theirs[index]["label"]
    batch = spec.train(0)[0]
    assert (batch["image"].shape, batch["image"].dtype) == ((10, 28, 28, 1), np.uint8)
    assert len(spec.train(0).source) == 500
    resized = dataclasses.replace(spec, size=14, crop="random", folds=0)
    assert resized.train(0)[0]["image"].shape == (10, 14, 14, 1)
    fingerprints = [spec.train(0).fingerprint(), resized.train(0).fingerprint()]
    assert len({*fingerprints, dataclasses.replace(spec, train_split="train[500:1000]").train(0).fingerprint()}) == 3


def test_a_folder_of_arrays_stands_in_for_tfds(real_data):
    if not (real_data / "cifar10" / "train.npz").is_file():
        pytest.skip("JAXLM_TEST_DATA has no cifar10/train.npz")
    spec = TfdsImages(name="cifar10", arrays=str(real_data / "cifar10"), batch=32)
    spec.check(10)
    found = spec.load()
    assert [len(found.train), len(found.eval)] == [50_000, 10_000]
    assert np.bincount(found.train_labels).tolist() == [5000] * 10
    assert np.bincount(found.eval_labels).tolist() == [1000] * 10
    assert spec.train(0)[0]["image"].shape == (32, 32, 32, 3)


def test_arrays_are_read_with_and_without_an_axis_of_channels(tmp_path):
    images, labels = pixels(4, 4, 12).reshape(12, 4, 4), np.arange(12) % 3
    np.savez(tmp_path / "train.npz", images=images, labels=labels)
    np.savez(tmp_path / "test.npz", images=images[:6, ..., None], labels=labels[:6].astype(np.uint8))
    spec = ArrayImages(folder=str(tmp_path), batch=4, eval_batch=6)
    spec.check(3)
    held = spec.eval()[0]
    assert np.array_equal(held["image"], images[:6, ..., None])
    assert (held["label"].dtype, held["label"].tolist()) == (np.int32, [0, 1, 2, 0, 1, 2])
    assert spec.names() == ("0", "1", "2")
    assert dataclasses.replace(spec, classes=("x", "y", "z")).names() == ("x", "y", "z")


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = load_digits()
    found = Digits().load()
    images = np.concatenate([found.train.arrays["image"], found.eval.arrays["image"]])
    assert [len(found.train), len(found.eval), *images.shape] == [1437, 360, 1797, 8, 8, 1]
    np.testing.assert_allclose(images[..., 0] * (16 / 255), digits.images, atol=0.04)
    assert np.array_equal(np.concatenate([found.train_labels, found.eval_labels]), digits.target)
    assert found.names == tuple("0123456789")
    assert Digits().example().shape == (1, 8, 8, 1)


@settings(max_examples=20)
@given(st.integers(0, 9999), st.sampled_from([1, 3]), st.sampled_from([1, 3]), st.booleans())
def test_normalisation_is_numpys(seed, channels, numbers, as_bytes):
    if channels < numbers:
        return
    image = pixels(2 * 3, 4, channels, seed).reshape(2, 3, 4, channels)
    drawn = np.random.default_rng(seed)
    mean, std = tuple(drawn.uniform(0, 1, numbers).tolist()), tuple(drawn.uniform(0.1, 1, numbers).tolist())
    expected = (image / 255 - np.asarray(mean)) / np.asarray(std)
    spec = Numbered(mean=mean, std=std)
    found = spec.prepare({"image": image if as_bytes else (image / 255).astype(np.float32), "label": 0})
    assert found["label"] == 0
    assert (found["image"].dtype, found["image"].shape) == (np.float32, image.shape)
    np.testing.assert_allclose(found["image"], expected, atol=1e-5)
    np.testing.assert_allclose(normalise(image, mean, std), expected, atol=1e-5)


# Folds.


@settings(max_examples=20)
@given(st.integers(2, 6), st.lists(st.integers(6, 30), min_size=1, max_size=4), st.integers(0, 99))
def test_folds_are_disjoint_cover_all_and_are_stratified(folds, counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple(map(str, range(len(counts))))
    parts = [stratified_fold(labels, folds, fold, names) for fold in range(folds)]
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(len(labels)))
    for kept, held in parts:
        assert sorted([*kept, *held]) == list(range(len(labels)))
        share = np.bincount(labels[held], minlength=len(counts))
        assert (abs(share - np.asarray(counts) / folds) < 1 + 1e-9).all()


def test_a_fold_is_the_evaluation_data_of_its_run_whatever_the_seed():
    spec = Digits(folds=5, fold=2, eval_batch=100)
    labels = Digits().load().train_labels
    kept, held = stratified_fold(labels, 5, 2, spec.names())
    assert np.array_equal(spec.eval().source.rows, held)
    for seed in (0, 1):
        assert np.array_equal(spec.train(seed).source.source.rows, kept)
    assert spec.eval()[0]["label"].tolist() == labels[held][:100].tolist()
    images = Digits().load().train.arrays["image"]
    assert np.array_equal(spec.eval()[0]["image"], images[held][:100])
    spec.check(10)


def test_fingerprints_differ_by_fold():
    found = [dataclasses.replace(Digits(), folds=3, fold=fold) for fold in range(3)]
    assert len({x.train(0).fingerprint() for x in (Digits(), *found)}) == 4
    assert len({x.eval().fingerprint() for x in (Digits(), *found)}) == 4
    assert found[0].train(0).fingerprint() != found[0].train(1).fingerprint()
    assert found[0].eval().fingerprint() == dataclasses.replace(found[0], augment=()).eval().fingerprint()
