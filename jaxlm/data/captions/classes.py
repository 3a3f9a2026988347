"""Labelled images with captions that templates make of their classes."""

from dataclasses import dataclass, field

import numpy as np

from jaxlm.data.captions.captioned import Captioned, Captions
from jaxlm.data.images.folder import ImageFolder
from jaxlm.data.images.labelled import load_labelled
from jaxlm.data.images.sources import ArrayImages, Digits, TfdsImages
from jaxlm.errors import BadInput

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class CaptionedClasses(Captioned):
    """Spec: labelled images, whose captions are templates with the name of the class in them.

    Attributes:
        images: the images; batch sizes are theirs, and what is for classification alone (`augment`, `folds`) must not
            be set.
        templates: captions with "{}" for the name; which one an image has is drawn in every epoch.
        words: the names of the classes in captions, by label; empty: those of the data.
    """

    images: Digits | TfdsImages | ArrayImages | ImageFolder = field(default_factory=Digits)
    templates: tuple[str, ...] = ("a picture of {}",)
    words: tuple[str, ...] = ()

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Return the images in a training batch and in an evaluation batch."""
        return self.images.batch, self.images.eval_batch or self.images.batch

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes in captions, by label.

        Raises:
            BadInput: `words` are not one for each class.
        """
        names = self.images.names()
        if self.words and len(self.words) != len(names):
            raise BadInput(f"data.words has {len(self.words)} names and the images {len(names)} classes: give one each")
        return self.words or names

    def load(self) -> tuple[Captions, Captions]:
        """Return the images and captions of both splits.

        Raises:
            BadInput: the images cannot be read, or a template does not have one "{}".
        """
        if self.images.augment or self.images.folds:
            raise BadInput("data.images.augment or folds is set, which are for classification: leave them out")
        if not self.templates or any(template.count("{}") != 1 for template in self.templates):
            raise BadInput(f'data.templates is {self.templates}: give captions with one "{{}}" for the class each')
        names, found = self.names(), load_labelled(self.images)
        texts = [template.replace("{}", name) for name in names for template in self.templates]
        parts = []
        for images, labels in ((found.train, found.train_labels), (found.eval, found.eval_labels)):
            if labels is None:
                raise BadInput("captions need the labels of all images beforehand: lower data.images.size or its crop")
            choices = labels[:, None].astype(np.int64) * len(self.templates) + np.arange(len(self.templates))
            parts.append(Captions(images, texts, choices, lambda number: f"caption {number} of data.templates"))
        return parts[0], parts[1]

    def captions(self, label: int) -> list[str]:
        """Return the captions of a class."""
        return [template.replace("{}", self.names()[label]) for template in self.templates]
