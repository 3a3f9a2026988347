"""Images and their labels as they come from files, arrays and TFDS, against Pillow, NumPy and scikit-learn."""

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_pixels import pixels

from jaxlm.data import batches
from jaxlm.data.arrays import ArraySource
from jaxlm.data.epoch import Epoch
from jaxlm.data.images.augment import normalise
from jaxlm.data.images.labelled import Images, LabelledImages, stratified_fold
from jaxlm.data.images.sources import ArrayImages, Digits, TfdsImages
from jaxlm.data.keys import training_keys

ROWS = 23


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbered(Images):
    """Images of one pixel, which is the number of the row; three classes in turn."""

    def load(self):
        rows = np.arange(ROWS)
        table = ArraySource({"image": rows.astype(np.uint8).reshape(-1, 1, 1, 1), "label": (rows % 3).astype(np.int32)})
        return LabelledImages(table, table.arrays["label"], table, table.arrays["label"], ("a", "b", "c"))


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


# Draws.


def draws_of(data, stop):
    """The draws of each row in the order of epochs: {(epoch, row): words}."""
    found, place = {}, 0
    for index in range(stop):
        batch = data[index]
        assert (batch["keys"].shape, batch["keys"].dtype) == ((data.batch, 2), np.uint32)
        for row, words in zip(batch["image"].ravel(), batch["keys"], strict=True):
            found[place // ROWS, int(row)] = tuple(words.tolist())
            place += 1
    return found


@settings(max_examples=15)
@given(st.integers(1, ROWS), st.integers(1, ROWS), st.integers(0, 2**40))
def test_draws_are_a_function_of_seed_epoch_and_row(batch, other, seed):
    found = draws_of(Numbered(batch=batch).train(seed), 3 * ROWS // batch + 1)
    for (epoch, row), words in found.items():
        assert words == tuple(training_keys(Epoch(seed, epoch), ROWS)[row].tolist())
    for key, words in draws_of(Numbered(batch=other).train(seed), 40 // other + 1).items():
        assert found.get(key, words) == words
    assert len(set(found.values())) == len(found)  # no two are alike, within an epoch or between two
    assert not set(found.values()) & set(draws_of(Numbered(batch=batch).train(seed + 1), 2).values())


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_do_not_depend_on_threads_and_workers(workers):
    data = Numbered(batch=6).train(3)
    found = list(batches(data, 2, 9, workers=workers))
    assert len(found) == 7
    for index, batch in enumerate(found, 2):
        same(batch, data[index])


@pytest.mark.parametrize("count", [2, 3])
def test_shards_have_the_draws_of_their_rows(count):
    data = Numbered(batch=6).train(4)
    for index in range(9):
        for part in range(count):
            same(data.shard(part, count)[index], {name: x[part::count] for name, x in data[index].items()})


def test_evaluation_has_every_image_once():
    found = list(Numbered(batch=6).eval())
    assert all(set(batch) == {"image", "label", "mask", "keys"} for batch in found)
    mask = np.concatenate([batch["mask"] for batch in found])
    assert (len(mask), mask.sum()) == (24, ROWS)
    assert np.array_equal(np.concatenate([batch["image"].ravel() for batch in found])[mask > 0], np.arange(ROWS))
    assert Numbered(batch=6, eval_batch=4).eval()[0]["image"].shape == (4, 1, 1, 1)


# Named sets.


@pytest.fixture
def tfds_folder():
    if not os.environ.get("TFDS_DATA_DIR") or not (Path(os.environ["TFDS_DATA_DIR"]) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR is not set, or has no mnist: run `python scripts/prepare_tfds.py mnist`")


@pytest.mark.usefixtures("tfds_folder")
def test_mnist_is_what_tfds_decodes():
    from jaxlm.data.tfds import open_dataset

    spec = TfdsImages(train_split="train[:500]", eval_split="test[:500]", batch=10)
    spec.check(SimpleNamespace(classes=10))
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
    spec.check(SimpleNamespace(classes=10))
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
    spec.check(SimpleNamespace(classes=3))
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
        assert np.array_equal(spec.train(seed).source.rows, kept)
    assert spec.eval()[0]["label"].tolist() == labels[held][:100].tolist()
    images = Digits().load().train.arrays["image"]
    assert np.array_equal(spec.eval()[0]["image"], images[held][:100])
    spec.check(SimpleNamespace(classes=10))


def test_fingerprints_differ_by_fold():
    found = [dataclasses.replace(Digits(), folds=3, fold=fold) for fold in range(3)]
    assert len({x.train(0).fingerprint() for x in (Digits(), *found)}) == 4
    assert len({x.eval().fingerprint() for x in (Digits(), *found)}) == 4
    assert found[0].train(0).fingerprint() != found[0].train(1).fingerprint()
    assert found[0].eval().fingerprint() == dataclasses.replace(found[0], augment=()).eval().fingerprint()
