"""Images that cannot be used: one BadInput of one line, that says what is wrong, where, and how to correct it."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from jaxlm.data.images.decoded import Decoded
from jaxlm.data.images.folder import ImageFolder
from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput


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
    "text.png": (b"this is no image\n", "of no format that is read: JPEG, PNG"),
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


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("crop", ["squash", "random"])
def test_a_broken_image_is_named(folder, name, crop):
    content, reason = BROKEN[name]
    (folder / "bee" / name).write_bytes(content)
    data = spec(folder, crop=crop, batch=10, eval_batch=4)
    message = refused(
        lambda: [data.train(0)[0], data.train(0)[1], data.eval()[0]],
        f"^{re.escape(str(folder / 'bee' / name))} is not a readable image",
        reason,
        "repair or remove it, or set --data.broken skip$",
    )
    assert "0x" not in message  # no addresses


def test_broken_images_are_left_out_named_and_counted(folder):
    for name, (content, _) in BROKEN.items():
        (folder / "bee" / name).write_bytes(content)
    data = spec(folder, broken="skip")
    data.check(SimpleNamespace(classes=2))
    assert len(data.train(0).source) + len(data.eval().source) == 12
    note = data.log_lines()[-1]
    assert note.startswith(f"skipped 5 of 17 images in {folder} that are broken: ")
    assert all(f"bee/{name}" in note for name in BROKEN)
    assert "\n" not in note


def test_of_many_broken_images_the_first_are_named(folder):
    for number in range(20):
        (folder / "ant" / f"x{number:02}.png").write_bytes(b"no")
    note = spec(folder, broken="skip").log_lines()[-1]
    assert note.startswith(f"skipped 20 of 32 images in {folder}")
    assert note.endswith("ant/x07.png and 12 more")


def test_whole_images_are_skipped_without_a_word(folder):
    assert spec(folder, broken="skip").log_lines()[-1] == "classes: 2 (ant, bee)"


@pytest.mark.parametrize("names", [("ant",), ("bee",), ("ant", "bee")])
def test_a_class_of_broken_images_only_is_refused_when_they_are_skipped(folder, names):
    for name in names:
        for path in (folder / name).iterdir():
            path.write_bytes(b"no image")
    refused(
        spec(folder, broken="skip").load,
        f"^{folder} has no image of {', '.join(names)} that is not broken .skipped {6 * len(names)} of 12 images in .*"
        ": add some$",
    )


def test_an_image_that_goes_away_or_cannot_be_read_is_named(folder):
    data = spec(folder, crop="random", batch=9)
    batches = data.train(0)
    for path in (folder / "ant").iterdir():
        path.unlink()
    refused(lambda: batches[0], r"an image cannot be read \(.*No such file.*ant/\d.png", "repair or remove it")
    (folder / "ant" / "0.png").symlink_to(folder / "nowhere.png")
    refused(spec(folder, eval_fraction=0.5).load, r"ant/0.png is not a readable image \(No such file or directory\)")


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
    refused(
        spec(folder, eval_fraction=share).load, f"a share of {share} of the images for evaluation: give one between"
    )


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
    refused(spec(folder).load, "ant/x.tiff is not a readable image", "32 bits a pixel", "convert it to 8 or 16 bits")


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
        refused(lambda: source.take(np.zeros(1, np.int64), None), r"^the file is not a readable image \(", "or remove")
    else:
        assert found["image"].shape == (1, 8, 8, 3)


def test_a_batch_that_is_larger_than_the_data_is_refused(folder):
    refused(
        lambda: Digits(batch=2000).train(0), "a batch of 2000 rows is larger than the 1437 rows .*: lower the batch"
    )
    refused(lambda: spec(folder, batch=64).train(0), "a batch of 64 rows is larger than the 10 rows")
    refused(lambda: Digits(eval_batch=-1).eval(), "a batch of -1 rows: give at least 1")
