"""Image classification data: what all specs share. The specs themselves are in `sources` and `folder`.

B batch, H height, W width, C channels. Batches have "image" uint8 [B, H, W, C], "label" int32 [B] and "keys" uint32
[B, 2], a PRNG key for each image; in evaluation also "mask" float32 [B].
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from jaxlm.data.epoch import Epoch, permutation
from jaxlm.data.images.decoded import Subset
from jaxlm.data.model_checks import check_classes, first_names
from jaxlm.data.order import InOrder, RowSource, Shuffled
from jaxlm.data.protocol import summary_line
from jaxlm.errors import BadInput


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Training and evaluation images.

    Attributes:
        train, eval: the images.
        train_labels, eval_labels: int32 [N]; None: not known before an image is read.
        names: of the classes.
        notes: lines about what was left out.
    """

    train: RowSource
    train_labels: np.ndarray | None
    eval: RowSource
    eval_labels: np.ndarray | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Images:
    """Spec: images with one label each.

    Attributes:
        batch: images in a training batch.
        eval_batch: images in an evaluation batch; None: as in training.
        augment: operations of `jaxlm.data.images.augment`, applied on the device, in this order, in training.
        mean: of the channels of images in [0, 1], which is subtracted; one number, or one for each channel.
        std: standard deviation of the channels, by which they are divided then.
        folds: of a cross-validation: the training images are split into so many folds, stratified by class, and fold
            `fold` takes the place of the evaluation images. 0: no cross-validation.
        fold: the fold that is left out of training and evaluated on, from 0.
    """

    batch: int = 128
    eval_batch: int | None = None
    augment: tuple[Any, ...] = ()
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    folds: int = 0
    fold: int = 0

    def load(self) -> LabelledImages:
        """Return the images of both splits."""
        raise NotImplementedError

    def train(self, seed: int = 0, noise: int | None = None) -> Shuffled:
        """Return the training batches.

        Args:
            seed: of the order of the images.
            noise: of random crops and of the keys, from which augmentation draws; None: `seed`.

        Raises:
            BadInput: the images cannot be read, or are fewer than a batch.
        """
        return Shuffled(load_labelled(self).train, self.batch, seed, noise, keys=True)

    def eval(self) -> InOrder:
        """Return the evaluation batches: every image exactly once.

        Raises:
            BadInput: the images cannot be read.
        """
        return InOrder(load_labelled(self).eval, self.eval_batch or self.batch, keys=True)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return load_labelled(self).names

    def shape(self) -> tuple[int, ...]:
        """Return (height, width, channels) of an image."""
        return load_labelled(self).eval.take(np.zeros(1, np.int64), None)["image"].shape[1:]

    def artefacts(self) -> dict[str, str]:
        """Return classes.json: the names of the classes, and what it takes to bring another image into this form."""
        crop = getattr(self, "crop", "squash")
        described = {"names": list(self.names()), "shape": list(self.shape()), "crop": crop}
        return {"classes.json": json.dumps(described, indent=1) + "\n"}

    def log_lines(self) -> list[str]:
        """Return a line about each split, one about the classes, and what was left out."""
        found, names = load_labelled(self), self.names()
        height, width, channels = self.shape()
        kind = f"images of {height} x {width} x {channels}"
        lines = [summary_line("train", {kind: len(found.train)}), summary_line("eval", {kind: len(found.eval)})]
        return [*lines, f"classes: {len(names)} ({first_names(names)})", *found.notes]

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "images"

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; float32 zeros [1, H, W, C]."""
        return np.zeros((1, *self.shape()), np.float32)

    def prepare(self, batch: Any) -> Any:
        """Normalise the images of a batch, in training and evaluation; for use inside a step.

        Args:
            batch: "image" uint8, or float in [0, 1].

        Returns:
            The batch with "image" float32, minus `mean` and divided by `std`.
        """
        from jaxlm.data.images.augment import normalise

        return {**batch, "image": normalise(batch["image"], self.mean, self.std)}

    def augmented(self, batch: Any) -> Any:
        """Apply the random operations of `augment` to a training batch; for use inside a step."""
        from jaxlm.data.images.augment import augment

        return augment(self.augment, len(self.names()), batch) if self.augment else batch

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the images cannot be read or do not fit a model (its `classes`)."""
        del repeat
        check_classes(model, self.names())
        shape, trained = self.shape(), load_labelled(self).train.take(np.zeros(1, np.int64), None)["image"].shape[1:]
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


@lru_cache(maxsize=4)
def load_labelled(spec: Images) -> LabelledImages:
    """Load the images of a spec once a process, check their labels, and split them where a fold is left out.

    Raises:
        BadInput: the images cannot be read, or a label or a fold is out of range.
    """
    if not spec.folds:
        if spec.fold:
            raise BadInput(f"data.fold is {spec.fold} and data.folds 0: set --data.folds, at least 2")
        found = spec.load()
        check_image_labels("training", found.train_labels, found.names)
        check_image_labels("evaluation", found.eval_labels, found.names)
        return found
    whole = load_labelled(dataclasses.replace(spec, folds=0, fold=0))
    if whole.train_labels is None:
        raise BadInput(
            "cross-validation needs the labels of all images beforehand, and these are read one by one: "
            "lower --data.size, or take another --data.crop than random"
        )
    kept, left_out = stratified_fold(whole.train_labels, spec.folds, spec.fold, whole.names)
    train, labels = whole.train, whole.train_labels
    return LabelledImages(
        Subset(train, kept), labels[kept], Subset(train, left_out), labels[left_out], whole.names, whole.notes
    )


def check_image_labels(split: str, labels: np.ndarray | None, names: Sequence[str]) -> None:
    """Raise BadInput for a label that is not the number of a class, and for a class without images."""
    if labels is None:
        return
    if not len(labels):
        raise BadInput(f"the {split} split has no images: add some")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise BadInput(
            f"the {split} split has {len(wrong)} labels outside of 0 ... {len(names) - 1}, the first one "
            f"{labels[wrong[0]]} at image {wrong[0]}: correct the labels or the number of classes"
        )
    missing = [name for label, name in enumerate(names) if not (labels == label).any()]
    if missing:
        raise BadInput(
            f"the {split} split has no image of {len(missing)} of the {len(names)} classes ({first_names(missing)}): "
            "add images of them, or take the classes out of all splits"
        )


def stratified_fold(labels: np.ndarray, folds: int, fold: int, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into folds of a cross-validation, stratified by class, the same for every seed of a run.

    Args:
        labels: integers [N].
        folds: how many.
        fold: the one that is left out, from 0.
        names: of the classes, for a message.

    Returns:
        The rows of all other folds, and the rows of this one; int64.

    Raises:
        BadInput: `fold` or `folds` is out of range, or a class has fewer images than folds.
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
    """Split rows at random, stratified by class, the same for every seed of a run.

    Args:
        labels: integers [N].
        share: the fraction of each class in the second part.
        names: of the classes, for a message.

    Returns:
        The rows of the first part and those of the second part, both in order; int64.

    Raises:
        BadInput: a fraction that is not between 0 and 1, or a class with fewer than two images.
    """
    if not 0 < share < 1:
        raise BadInput(f"a share of {share} of the images for evaluation: give one between 0 and 1")
    order = permutation(Epoch(0, 0), len(labels))
    chosen = np.zeros(len(labels), bool)
    for label, name in enumerate(names):
        rows = order[labels[order] == label]
        if len(rows) < 2:
            raise BadInput(f"class {name} has {len(rows)} images to train and to evaluate on: add some")
        chosen[rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
