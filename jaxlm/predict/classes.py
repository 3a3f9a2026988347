"""Logits of classes to answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example
from jaxlm.runs.directory import CLASSES, RunDirectory


@dataclass(frozen=True)
class ClassProbabilities:
    """Answer with the likeliest class: {"label": name, "probability": p, "probabilities": {name: p}}.

    An input of several rows, the windows of a long text, has the mean of their probabilities.

    Attributes:
        names: of the classes, by index.
        top: the classes in "probabilities", the likeliest first; None: all, in the order of `names`.
    """

    names: tuple[str, ...]
    top: int | None = None

    options: ClassVar[tuple[str, ...]] = ("top",)

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise BadInput(f"top is {self.top}: it must be at least 1")

    def __call__(self, outputs: Sequence[Example], context: Any = None) -> Answer:
        """Return the answer for the logits float32 [K] of each row; the first of equal classes is taken."""
        del context
        logits_RK = np.stack([row["logits"] for row in outputs]).astype(np.float64)
        powers_RK = np.exp(logits_RK - logits_RK.max(1, keepdims=True))
        mean_K = (powers_RK / powers_RK.sum(1, keepdims=True)).mean(0)
        best = int(logits_RK[0].argmax() if len(outputs) == 1 else mean_K.argmax())
        order = range(len(self.names)) if self.top is None else np.argsort(-mean_K, kind="stable")[: self.top]
        chosen = {self.names[k]: float(mean_K[k]) for k in order}
        return {"label": self.names[best], "probability": float(mean_K[best]), "probabilities": chosen}


def read_class_names(run: RunDirectory) -> tuple[str, ...]:
    """Return the names of the classes of a run, by index.

    Raises:
        BadInput: its data have no classes, or their file is damaged.
    """
    names = run.class_names()
    if names is None:
        raise BadInput(f"{run.path / CLASSES} is damaged or not there: copy it from a run on the same data")
    return names
