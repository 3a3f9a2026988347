"""Let a classifier that saw real images alone look at what a run paints: does it agree with the captions?

    python scripts/score_pictures.py RUN CLASSIFIER_RUN [--count 1000] [--seed 0] [--guidance 1.5] [--steps 10]

RUN is one of experiments/text_to_image.py whose captions are made of classes, CLASSIFIER_RUN one of
experiments/image_classification.py on the same classes, numbered the same. Beside the share of pictures on which the
classifier agrees is that of the real images of the evaluation. Distances between sets of pictures are in the features
that the layer "head" of the classifier reads, so they cannot be compared with those of other networks; beside them is
the floor, the distance between two disjoint sets of real training images of the same size.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH = 256


def main() -> None:
    """Parse, paint, classify, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of experiments/text_to_image.py")
    parser.add_argument("classifier", help="a run of experiments/image_classification.py")
    parser.add_argument("--count", type=int, default=1000, help="pictures to make")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--guidance", type=float, default=None, help="of the text (default: that of the config)")
    parser.add_argument("--steps", type=int, default=None, help="from noise to picture (default: those of the config)")
    score(parser.parse_args())


def score(options: argparse.Namespace) -> None:
    """Print agreement by class, and distances beside their floor."""
    import jaxlm
    from jaxlm.data.images.labelled import load_labelled
    from jaxlm.runs.directory import RunDirectory

    painter, data = jaxlm.load(options.run), RunDirectory.existing(options.run).config().data
    classes = len(data.names())
    labels = np.arange(options.count) % classes
    captions = [data.captions(label) for label in range(classes)]
    texts = [captions[n % classes][n // classes % len(captions[n % classes])] for n in range(options.count)]
    chosen = {name: getattr(options, name) for name in ("seed", "guidance", "steps")}
    answers = painter(texts, **{name: value for name, value in chosen.items() if value is not None})
    made = np.array([answer["pixels"] for answer in answers], np.uint8)
    real = load_labelled(data.images)
    looks = Classifier(options.classifier)
    found, features = looks(made)
    print(agreement("pictures", found, labels, data.names()))
    held_out = real.eval.take(np.arange(len(real.eval)), None)
    print(agreement("real images of the evaluation", looks(held_out["image"])[0], held_out["label"], data.names()))
    count = min(options.count, len(real.train) // 2)
    rows = np.random.default_rng(0).permutation(len(real.train))[: 2 * count]
    images = real.train.take(rows, None)["image"]
    print(distances(looks.name, features[:count], looks(images[:count])[1], looks(images[count:])[1]))


class Classifier:
    """A run of a classifier as a function from images to classes and features.

    Args:
        run: its directory.
    """

    def __init__(self, run: str) -> None:
        import flax.linen as nn
        import jax

        import jaxlm
        from jaxlm.runs.directory import RunDirectory

        self.loaded, config = jaxlm.load(run), RunDirectory.existing(run).config()
        self.name = f"{type(config.model).__name__} of {run}"

        def apply(variables: Any, image: Any) -> tuple[Any, Any]:
            read: list[Any] = []

            def keep(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
                if context.module.name == "head":
                    read.append(args[0])
                return function(*args, **kwargs)

            with nn.intercept_methods(keep):
                logits = config.model.apply(variables, config.data.prepare({"image": image})["image"], train=False)
            return logits.argmax(-1), read[-1]

        self.apply = jax.jit(apply)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of each image, and the features of each, [N, F]."""
        rows = [prepared.rows[0]["image"] for prepared in self.loaded.predictor.preprocess(images)]
        filled = np.stack([*rows, *rows[:1] * (-len(rows) % BATCH)])
        parts = [self.apply(self.loaded.variables, filled[at : at + BATCH]) for at in range(0, len(filled), BATCH)]
        classes, features = (np.concatenate([np.asarray(part) for part in both]) for both in zip(*parts, strict=True))
        return classes[: len(rows)], features[: len(rows)]


def agreement(name: str, found: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> str:
    """Return a line about the share of images whose class is the given one, of all and by class."""
    agrees = found == labels
    by_class = [
        f"{one} {agrees[labels == label].mean():.1%}" for label, one in enumerate(names) if (labels == label).any()
    ]
    return (
        f"{name}: the classifier agrees on {agrees.sum()} of {len(agrees)}, {agrees.mean():.2%} ({', '.join(by_class)})"
    )


def distances(name: str, made: np.ndarray, real: np.ndarray, other: np.ndarray) -> str:
    """Return a line about the distances of pictures from real images, and of other real images from these."""
    from jaxlm.metrics.pictures import frechet_distance, kernel_distance

    found = [f(x, real) for f in (frechet_distance, kernel_distance) for x in (made, other)]
    return (
        f"in the {made.shape[1]} features of {name}, {len(made)} against {len(real)} real images: Frechet distance "
        f"{found[0]:.3f} (floor {found[1]:.3f}), kernel distance {found[2]:.4f} (floor {found[3]:.4f})"
    )


if __name__ == "__main__":
    main()
