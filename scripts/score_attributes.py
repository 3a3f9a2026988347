"""Judge digit, colour and place of pictures of captions such as "a red three on the left", and all three together.

    python scripts/score_attributes.py RUN CLASSIFIER_RUN [--each 10] [--seed 0] [--guidance 2] [--steps 20]

RUN makes pictures of captions and has data of `CaptionedAttributes`; CLASSIFIER_RUN is one of
experiments/image_classification.py on the same grey digits at the size that they have in the pictures:
`jaxlm train cnn_mnist --data.size 14`. Colour and place are judged by the light of the pixels (`look`), the digit by
the classifier, which is given the pixels of that place in grey. Captions of the pairs that training has not seen are
counted apart. Beside them is what the same judges say of the real pictures of the evaluation, the most that they can
say. The time is that of all pictures, 100 at a time, after the program was compiled.
"""

import argparse
import time
from typing import Any

import numpy as np

from jaxlm.data.captions.attributes import COLOURS, PLACES, all_captions, boxes
from jaxlm.data.captions.classes import DIGIT_WORDS
from jaxlm.data.images.labelled import load_labelled
from jaxlm.errors import BadInput
from score_pictures import Classifier

DARK = 40  # a pixel whose brightest channel is below this has no light
BATCH = 100  # pictures that are made at a time
MOST = 0.9  # a picture has a colour or a place where that has at least this share of its light


def main() -> None:
    """Parse, paint, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run that makes pictures of coloured digits")
    parser.add_argument("classifier", help="a run of experiments/image_classification.py")
    parser.add_argument("--each", type=int, default=10, help="pictures of each of the 160 captions")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--guidance", type=float, default=None, help="of the text (default: that of the config)")
    parser.add_argument("--steps", type=int, default=None, help="from noise to picture (default: those of the config)")
    try:
        score(parser.parse_args())
    except BadInput as error:
        parser.exit(2, f"error: {error}\n")


def score(options: argparse.Namespace) -> None:
    """Print the agreement of the pictures of a run, and of real ones."""
    import jaxlm
    from jaxlm.runs.directory import RunDirectory

    data = RunDirectory.existing(options.run).config().data
    classify = Classifier(options.classifier)
    painter, texts = jaxlm.load(options.run), all_captions() * options.each
    chosen = {name: getattr(options, name) for name in ("seed", "guidance", "steps")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    painter(texts[:1], batch=BATCH, **chosen)
    start = clocks()
    answers = painter(texts, batch=BATCH, **chosen)
    wall, cpu = (after - before for before, after in zip(start, clocks(), strict=True))
    made = np.array([answer["pixels"] for answer in answers], np.uint8)
    seen = np.array([" ".join(text.split()[1:3]) not in data.held_out for text in texts])
    right = judge(made, texts, data, classify)
    print(agreement("pictures of pairs that training has", right[seen]))
    print(agreement("pictures of pairs that are held out", right[~seen]))
    print(f"{len(texts):,} pictures: {1000 * cpu / len(texts):.1f} ms of processor time each, {wall:.1f} s in all")
    real = data.loaded().eval
    captions = [real.texts[number] for number in real.choices[:, 0]]
    images = real.images.take(np.arange(len(captions)), None)["image"]
    print(agreement("real pictures of the evaluation", judge(images, captions, data, classify)))


def clocks() -> tuple[float, float]:
    """Return seconds of the wall and of the processor."""
    return time.perf_counter(), time.process_time()


def judge(pictures: np.ndarray, texts: list[str], data: Any, classify: Any) -> np.ndarray:
    """Return what is right in each picture, bool [N, 3]: digit, colour, place.

    Args:
        pictures: uint8 [N, S, S, 3].
        texts: their captions.
        data: the `CaptionedAttributes` that places them.
        classify: uint8 [N, H, W, 1] -> (digits, anything), such as `Classifier` of scripts/score_pictures.py.
    """
    height, width, _ = load_labelled(data.images).eval.take(np.zeros(1, np.int64), None)["image"].shape[1:]
    colours, places, greys = look(pictures, height // data.shrink, width // data.shrink)
    digits = classify(greys)[0]
    asked = [text.split(maxsplit=3) for text in texts]
    found = zip(digits, colours, places, asked, strict=True)
    named = [(DIGIT_WORDS[d], [*COLOURS, ""][c], [*PLACES, ""][p], words) for d, c, p, words in found]
    return np.array([(d == words[2], c == words[1], p == words[3]) for d, c, p, words in named])


def look(pictures: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the colour and the place of each picture, by number or -1, and the grey digit at its place.

    The light of a pixel is that of its brightest channel. It is of the colour whose direction is nearest to its own,
    and of a place if it is in the rows and columns of a digit there; places overlap. A picture with less than `MOST`
    of its light in one colour has no colour, and likewise for places.

    Args:
        pictures: uint8 [N, S, S, 3].
        height: of a digit.
        width: of a digit.

    Returns:
        Colours int64 [N], places int64 [N], digits uint8 [N, height, width, 1] with the light of the most frequent
        colour at the brightest place, whether they have `MOST` or not.
    """
    size = pictures.shape[1]
    light = pictures.max(-1).astype(np.float64)
    light[light < DARK] = 0
    inks = np.array([*COLOURS.values()], np.float64)
    nearest = (pictures @ (inks / np.linalg.norm(inks, axis=-1, keepdims=True)).T).argmax(-1)
    by_colour = np.stack([(light * (nearest == number)).sum((1, 2)) for number in range(len(inks))], -1)
    areas = boxes(size, height, width)
    by_place = np.stack([light[:, *area].sum((1, 2)) for area in areas], -1)
    colours, places = by_colour.argmax(-1), by_place.argmax(-1)
    ink = inks[colours][:, None, None]
    grey = (pictures * ink).sum(-1) / np.square(ink).sum(-1) * 255
    greys = np.stack([one[areas[place]] for one, place in zip(grey, places, strict=True)])
    enough = MOST * light.sum((1, 2))
    colours = np.where((by_colour.max(-1) >= enough) & (enough > 0), colours, -1)
    places = np.where((by_place.max(-1) >= enough) & (enough > 0), places, -1)
    return colours, places, np.rint(np.clip(greys, 0, 255)).astype(np.uint8)[..., None]


def agreement(name: str, right: np.ndarray) -> str:
    """Return a line about the share of pictures in which all is right, and each of digit, colour and place."""
    together = right.all(1)
    each = ", ".join(
        f"{one} {share:.2%}" for one, share in zip(("digit", "colour", "place"), right.mean(0), strict=True)
    )
    return f"{name}: {together.sum():,} of {len(right):,} agree with their caption, {together.mean():.2%} ({each})"


if __name__ == "__main__":
    main()
