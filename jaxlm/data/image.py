"""Image classification data: what all specs share. The specs themselves are in `image_specs`.

B batch, H height, W width, C channels. Batches hold "image" uint8 [B, H, W, C] and "label" int32 [B]; in training also
"draws" uint32 [B, 2], the words of each example's PRNG key, in evaluation "mask" float32 [B].
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from jaxlm.data.image_source import Drawn, Subset
from jaxlm.data.order import Epoch, InOrder, Shuffled, Source, permutation
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training and evaluation images, their labels (int32; None: not known beforehand) and the names of the classes."""

    train: Source
    train_labels: np.ndarray | None
    eval: Source
    eval_labels: np.ndarray | None
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Spec: images with one label each.

    Attributes:
        batch: images in a training batch.
        eval_batch: images in an evaluation batch; None: as in training.
        augment: operations of `jaxlm.data.augment`, done in turn on the device, in training.
        mean: subtracted from the channels of images in [0, 1].
        std: what they are divided by then.
        folds: parts of a cross-validation: the training images are dealt out to so many folds, stratified by class,
            and fold number `fold` is evaluated on instead of the evaluation images. 0 for none.
        fold: the fold that is left out of training.
    """

    batch: int = 128
    eval_batch: int | None = None
    augment: tuple[Any, ...] = ()
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    folds: int = 0
    fold: int = 0

    def load(self) -> Labelled:
        """Return the images of both splits."""
        raise NotImplementedError

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches; what augmentation draws is seeded by `noise`, None: by `seed`.

        Raises:
            BadInput: the images cannot be read, or are fewer than a batch.
        """
        return Shuffled(Drawn(_loaded(self).train), self.batch, seed, noise)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every image exactly once.

        Raises:
            BadInput: the images cannot be read.
        """
        return InOrder(_loaded(self).eval, self.eval_batch or self.batch)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return _loaded(self).names

    def shape(self) -> tuple[int, ...]:
        """Return height, width and channels."""
        return _loaded(self).eval.take(np.zeros(1, np.int64), None)["image"].shape[1:]

    def description(self) -> dict[str, Any]:
        """Return what it takes to bring another image into the form of these, and the names of the classes."""
        return {"names": list(self.names()), "shape": list(self.shape()), "crop": getattr(self, "crop", "squash")}

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; float32 zeros [1, H, W, C]."""
        return np.zeros((1, *self.shape()), np.float32)

    def prepare(self, batch: Any) -> Any:
        """Return a batch with normalised float32 images, in training and evaluation; to be called within a step."""
        from jaxlm.data.augment import normalise

        return {**batch, "image": normalise(batch["image"], self.mean, self.std)}

    def augmented(self, batch: Any) -> Any:
        """Return a training batch after the random operations; to be called within a step."""
        from jaxlm.data.augment import augment

        return augment(self.augment, len(self.names()), batch) if self.augment else batch

    def check(self, classes: int) -> None:
        """Raise BadInput where a model for so many classes does not fit the data."""
        names = self.names()
        if len(names) != classes:
            raise BadInput(
                f"the data has {len(names)} classes ({_few(names)}) and the model {classes}: "
                f"set --model.classes {len(names)}"
            )
        shape, trained = self.shape(), _loaded(self).train.take(np.zeros(1, np.int64), None)["image"].shape[1:]
        if trained != shape:
            raise BadInput(
                f"training images are {list(trained)} and evaluation images {list(shape)} (height, width, channels): "
                "resize or convert them to one shape"
            )
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, shape[-1]):
                raise BadInput(
                    f"data.{name} has {count} numbers and the images have {shape[-1]} channels: "
                    "give one number, or one for each channel"
                )
        if min(self.std) <= 0:
            raise BadInput(f"data.std is {self.std}: give numbers above 0, since images are divided by them")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


@lru_cache(maxsize=4)
def _loaded(spec: Images) -> Labelled:
    """Load what a spec names, check its labels, and leave a fold out where it asks for that."""
    if not spec.folds:
        if spec.fold:
            raise BadInput(f"data.fold is {spec.fold} and data.folds 0: set --data.folds, at least 2")
        found = spec.load()
        check_labels("training", found.train_labels, found.names)
        check_labels("evaluation", found.eval_labels, found.names)
        return found
    whole = _loaded(dataclasses.replace(spec, folds=0, fold=0))
    if whole.train_labels is None:
        raise BadInput(
            "cross-validation needs the labels of all images beforehand, and these are read one by one: "
            "lower --data.size, or take another --data.crop than random"
        )
    kept, held = stratified_fold(whole.train_labels, spec.folds, spec.fold, whole.names)
    train, labels = whole.train, whole.train_labels
    return Labelled(Subset(train, kept), labels[kept], Subset(train, held), labels[held], whole.names)


def check_labels(split: str, labels: np.ndarray | None, names: Sequence[str]) -> None:
    """Raise BadInput for labels that name no class, and for classes without an image."""
    if labels is None:
        return
    if not len(labels):
        raise BadInput(f"the {split} split has no images: add some")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise BadInput(
            f"the {split} split has {len(wrong)} labels outside of 0 ... {len(names) - 1}, the first one "
            f"{labels[wrong[0]]} at image {wrong[0]}: mend the labels or the number of classes"
        )
    missing = [name for label, name in enumerate(names) if not (labels == label).any()]
    if missing:
        raise BadInput(
            f"the {split} split has no image of {len(missing)} of the {len(names)} classes ({_few(missing)}): "
            "add images of them, or take the classes out of all splits"
        )


def stratified_fold(labels: np.ndarray, folds: int, fold: int, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all other folds and those of this one; the deal is the same for every seed of a run.

    Raises:
        BadInput: no such fold, or a class with fewer images than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if folds < 2:
        raise BadInput(f"data.folds is {folds}: give at least 2, or 0 for no cross-validation")
    if not 0 <= fold < folds:
        raise BadInput(f"data.fold is {fold} and data.folds {folds}: give a fold from 0 to {folds - 1}")
    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < folds:
        few = names[int(counts.argmin())]
        raise BadInput(f"class {few} has {counts.min()} training images, fewer than {folds} folds: take fewer folds")
    splits = StratifiedKFold(folds, shuffle=True, random_state=0).split(np.zeros(len(labels)), labels)
    return list(splits)[fold]


def stratified_share(labels: np.ndarray, share: float, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the other rows and those of a random share of each class, both in order; the same for every seed of a run.

    Raises:
        BadInput: a share that is not between 0 and 1, or a class with fewer than two images.
    """
    if not 0 < share < 1:
        raise BadInput(f"a share of {share} of the images for evaluation: give one between 0 and 1")
    order = permutation(Epoch(0, 0), len(labels))
    held = np.zeros(len(labels), bool)
    for label, name in enumerate(names):
        rows = order[labels[order] == label]
        if len(rows) < 2:
            raise BadInput(f"class {name} has {len(rows)} images to train and to evaluate on: add some")
        held[rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
