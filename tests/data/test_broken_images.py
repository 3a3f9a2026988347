"""Broken images are found before anything is compiled, all of them at once; and bombs are refused unopened."""

import io
import os
import struct
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from random_pixels import pixels
from refusals import refused

from jaxlm.data.images import decoded
from jaxlm.data.images.folder import ImageFolder
from jaxlm.data.images.sources import ArrayImages
from jaxlm.errors import BadInput
from jaxlm.optim import SGD
from jaxlm.predict.images import ReadImages
from jaxlm.runs.directory import identity
from jaxlm.train import Config, Run

BROKEN = ("ant/1.png", "ant/3.png", "bee/0.png", "bee/5.png")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLM_CACHE", str(tmp_path / "cache"))
    for name in ("ant", "bee"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(pixels(6, 8, seed=number)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def spec(folder, **fields):
    return ImageFolder(path=str(folder), **{"size": 8, "batch": 2, **fields})


def png(width, height, rows):
    """A whole PNG file of one grey value, whose size is not that of its content."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(width + 1)) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("crop", ["squash", "random"])
def test_all_broken_images_are_named_by_the_check(folder, crop):
    for name in BROKEN:
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    message = refused(
        lambda: spec(folder, crop=crop).check(SimpleNamespace(classes=2)),
        f"^4 of 12 images in {folder} cannot be read: repair or remove them, or set --data.broken skip: ",
    )
    assert all(f"{folder}/{name} is not a readable image (" in message for name in BROKEN)
    skipping = spec(folder, crop=crop, broken="skip")
    skipping.check(SimpleNamespace(classes=2))
    assert skipping.log_lines()[-1].endswith("that are broken: ant/1.png, ant/3.png, bee/0.png, bee/5.png")
    (folder / "ant" / "1.png").unlink()
    data = spec(folder, crop=crop, broken="skip")
    assert len(data.train(0).source) + len(data.eval().source) == 8
    whole = [data.train(0)[0], data.eval()[0]]
    assert all((batch["image"].shape[1:], batch["label"].max()) == ((8, 8, 3), 1) for batch in whole)


def test_of_very_many_broken_images_a_hundred_are_named(folder):
    for number in range(150):
        (folder / "ant" / f"x{number:03}.png").write_bytes(b"no")
    message = refused(spec(folder).load, r"^150 of 162 images", "; and 50 more$")
    assert message.count("not a readable image") == 100


def test_files_that_were_checked_are_not_read_again(folder, monkeypatch):
    (folder / "bee" / "0.png").write_bytes(b"no")
    checked = []
    real = decoded.check_images
    monkeypatch.setattr(decoded, "check_images", lambda source: checked.append(len(source)) or real(source))
    for _ in range(2):
        refused(spec(folder, crop="random").load, "bee/0.png is not a readable image")
    assert checked == [12]
    Image.fromarray(pixels(6, 8)).save(folder / "bee" / "0.png")
    spec(folder, crop="random").load()
    assert checked == [12, 12]
    spec(folder, crop="random").load()
    assert checked == [12, 12]


def test_a_jpeg_that_is_cut_off_is_found_by_the_check(folder):
    file = io.BytesIO()
    Image.fromarray(pixels(400, 400)).save(file, "JPEG")
    (folder / "ant" / "x.jpg").write_bytes(file.getvalue())
    spec(folder, crop="random").load()
    (folder / "ant" / "x.jpg").write_bytes(file.getvalue()[:-100])
    refused(spec(folder, crop="random").load, "ant/x.jpg is not a readable image .*truncated")


def test_a_bomb_is_refused_unopened_and_the_limit_is_an_option(folder):
    (folder / "ant" / "bomb.png").write_bytes(png(9000, 9000, 1))  # 81 million pixels, of which only a row is there
    reason = r"bomb.png is not a readable image \(9000 x 9000 pixels, and max_pixels is 67,108,864\)"
    refused(spec(folder).load, reason)
    refused(spec(folder, crop="random").load, reason)
    (folder / "ant" / "bomb.png").write_bytes(png(300, 200, 200))
    refused(spec(folder, max_pixels=59_999).load, r"300 x 200 pixels, and max_pixels is 59,999")
    assert len(spec(folder, max_pixels=60_000).load().names) == 2
    (error,) = ReadImages((8, 8, 3), max_pixels=59_999)([(folder / "ant" / "bomb.png").read_bytes()])
    assert isinstance(error, BadInput)


def npz(path, images, labels):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", images)
        file.writestr("labels.npy", labels)


def npy(shape, content=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def test_arrays_that_would_take_all_memory_are_refused_unread(tmp_path):
    whole = npy((50,), bytes(50))
    data = ArrayImages(folder=str(tmp_path), train_file="t.npz", eval_file="t.npz")
    npz(tmp_path / "t.npz", npy((1 << 20, 1 << 10, 1 << 10)), whole)  # a header alone
    refused(data.load, f"^{tmp_path}/t.npz takes 1,099,511,627,954 bytes decoded, and data.max_bytes is 4,294,967,296")
    npz(tmp_path / "t.npz", npy((50, 4, 4), bytes(1 << 24)), whole)  # a header that says less than there is
    refused(lambda: ArrayImages(**{**vars(data), "max_bytes": 1 << 20}).load(), r"takes 16,77\d,\d+ bytes decoded")
    npz(tmp_path / "t.npz", npy((50, 4, 4), bytes(800)), whole)
    assert len(ArrayImages(**{**vars(data), "max_bytes": 2000}).load().train) == 50


def test_sub_folders_that_are_parts_are_no_classes(real_data):
    path = real_data / "cases" / "images" / "training_validation"
    refused(
        ImageFolder(path=str(path), size=4).load,
        f"^{path} has the sub-folders training, validation, which are parts and not classes: name them with "
        "--data.train_part and --data.eval_part$",
    )
    found = ImageFolder(path=str(path), size=4, train_part="training", eval_part="validation").load()
    assert (found.names, len(found.train), len(found.eval)) == (("cat", "dog"), 12, 8)


def test_what_is_no_file_is_not_read(folder):
    (folder / "ant" / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "ant" / "pipe.png")
    refused(spec(folder).load, "ant/endless.png is not a readable image .it is a device.")
    refused(spec(folder, crop="random").load, "ant/endless.png is not a readable image .it is a device.")
    (error,) = ReadImages((8, 8, 3))([folder / "ant" / "endless.png"])
    assert str(error).startswith("not a readable image (it is a device)")


def test_limits_may_change_on_a_resume(folder):
    """They change no number, and a run from before they were there has none."""
    assert identity(spec_config(folder)) == identity(spec_config(folder, max_pixels=1000))
    assert identity(spec_config(folder)) != identity(spec_config(folder, channels=1))


def spec_config(folder, **fields):
    return Config(None, spec(folder, **fields), SGD(), run=Run(steps=1))
