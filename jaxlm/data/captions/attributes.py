"""Digits in a colour and at a place, with captions that name all three, to see what a model can combine."""

from dataclasses import dataclass, field

import numpy as np

from jaxlm.data.arrays import ArraySource
from jaxlm.data.captions.captioned import Captioned, Captions
from jaxlm.data.captions.classes import DIGIT_WORDS
from jaxlm.data.epoch import Epoch
from jaxlm.data.images.labelled import load_labelled
from jaxlm.data.images.sources import Digits, TfdsImages
from jaxlm.data.order import RowSource
from jaxlm.errors import BadInput

COLOURS = {"red": (255, 40, 40), "green": (40, 220, 60), "blue": (70, 90, 255), "yellow": (250, 220, 40)}
PLACES = {"on the left": (0.5, 0.0), "on the right": (0.5, 1.0), "at the top": (0.0, 0.5), "at the bottom": (1.0, 0.5)}
TEMPLATE = "a {colour} {digit} {place}"
PURPOSE = 14  # separates the draws of attributes from others of a seed


@dataclass(frozen=True, kw_only=True)
class CaptionedAttributes(Captioned):
    """Spec: coloured digits on a black square, such as "a red three on the left".

    Colour and place of an image are functions of (seed, row).

    Attributes:
        images: grey digits; batch sizes are theirs.
        shrink: the digits are made smaller by this factor (means of squares); it divides their height and width.
        size: height and width of the square.
        held_out: pairs of a colour and a digit, such as "red three", of which training has no image.
        seed: of colours and places.
    """

    images: TfdsImages | Digits = field(default_factory=TfdsImages)
    shrink: int = 2
    size: int = 28
    held_out: tuple[str, ...] = ()
    seed: int = 0

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Return the images in a training batch and in an evaluation batch."""
        return self.images.batch, self.images.eval_batch or self.images.batch

    def load(self) -> tuple[Captions, Captions]:
        """Return the images and captions of both splits.

        Raises:
            BadInput: the digits cannot be read, do not fit the square, or a pair that is held out is none.
        """
        pairs = [f"{colour} {digit}" for colour in COLOURS for digit in DIGIT_WORDS]
        if unknown := sorted(set(self.held_out) - set(pairs)):
            raise BadInput(f"data.held_out has {unknown[0]!r}: give pairs such as {pairs[0]!r} and {pairs[-1]!r}")
        found = load_labelled(self.images)
        held = np.array([pairs.index(pair) for pair in self.held_out], np.int64)
        return self._part(found.train, 0, held), self._part(found.eval, 1, held[:0])

    def _part(self, source: RowSource, part: int, held: np.ndarray) -> Captions:
        taken = source.take(np.arange(len(source)), None)
        grey, labels = taken["image"], taken["label"].astype(np.int64)
        words = Epoch(self.seed, part).words(2 * len(labels), PURPOSE).reshape(-1, 2)
        colours, places = (words % np.array([[len(COLOURS), len(PLACES)]], np.uint64)).astype(np.int64).T
        kept = ~np.isin(colours * len(DIGIT_WORDS) + labels, held)
        labels, colours, places = labels[kept], colours[kept], places[kept]
        images = self._squares(grey[kept], colours, places)
        numbers = (colours * len(DIGIT_WORDS) + labels) * len(PLACES) + places
        return Captions(ArraySource({"image": images}), all_captions(), numbers[:, None], lambda n: f"caption {n}")

    def _squares(self, grey: np.ndarray, colours: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return uint8 [N, size, size, 3] of digits uint8 [N, H, W, 1] in their colours at their places."""
        count, height, width, _ = grey.shape
        by = self.shrink
        if by < 1 or height % by or width % by or max(height, width) > by * self.size:
            raise BadInput(
                f"data.shrink {by} and data.size {self.size} do not fit digits of {height} x {width}: shrink divides "
                "both, and the square holds what is left"
            )
        small = grey.reshape(count, height // by, by, width // by, by).mean((2, 4)) / 255
        inks = np.array([*COLOURS.values()])[colours]
        pixels = np.rint(small[..., None] * inks[:, None, None]).astype(np.uint8)
        squares = np.zeros((count, self.size, self.size, 3), np.uint8)
        for number, box in enumerate(boxes(self.size, *small.shape[1:])):
            squares[places == number, *box] = pixels[places == number]
        return squares


def all_captions() -> list[str]:
    """Return the captions of every colour, digit and place, in this order."""
    return [
        TEMPLATE.format(colour=colour, digit=digit, place=place)
        for colour in COLOURS
        for digit in DIGIT_WORDS
        for place in PLACES
    ]


def boxes(size: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the rows and columns of a square that a digit of this height and width takes, by place."""
    corners = [(round(down * (size - height)), round(across * (size - width))) for down, across in PLACES.values()]
    return [(slice(top, top + height), slice(left, left + width)) for top, left in corners]
