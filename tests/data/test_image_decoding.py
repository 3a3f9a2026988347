"""Images as they are decoded, resized and cropped, against Pillow and NumPy."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from random_pixels import pixels

from jaxlm.data.epoch import Epoch
from jaxlm.data.images.decode import random_rectangle, window
from jaxlm.data.images.decoded import Decoded
from jaxlm.errors import BadInput

random = np.random.default_rng(0)


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
