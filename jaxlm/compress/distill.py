"""Students of a run: a run of another config that learns the probabilities of the run's model besides the labels."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import jax

from jaxlm.data.tables.schema import COLUMNS
from jaxlm.errors import BadInput
from jaxlm.losses import IMAGE, Classification
from jaxlm.losses.classification import Mix
from jaxlm.losses.distillation import distil
from jaxlm.predict import forward
from jaxlm.runs.directory import CLASSES, TOKENIZER, RunDirectory
from jaxlm.runs.weights import read_run
from jaxlm.steps import LossFn, Model
from jaxlm.train.init_from import read_source

SAME = ("mean", "std")  # of the data: what a model of images takes is normalised by them


@dataclass(frozen=True)
class Distilled:
    """Spec: cross entropy over classes, and the distance from the probabilities of a run's model.

    Attributes:
        labels: the loss of the labels.
        teacher: the directory of the run, which must be there while the student trains.
        step: its checkpoint.
        sha256: of its weights, so that a resumed run learns from the same ones; "" is not checked.
        temperature: see `jaxlm.losses.distillation.distil`.
        weight: share of the teacher.
    """

    labels: Classification = field(default_factory=Classification)
    teacher: str = ""
    step: int | None = None
    sha256: str = ""
    temperature: float = 4.0
    weight: float = 0.5

    hyperparameters: ClassVar[tuple[str, ...]] = ()

    def __call__(self, model: Model, inputs: tuple[str, ...] = IMAGE) -> LossFn:
        """Return the loss of a student.

        Raises:
            BadInput: the teacher is not there, or has other weights.
        """

        def loss_of(mix: Mix | None) -> LossFn:
            return self.labels(model, inputs, mix)

        def teacher(batch: Any) -> jax.Array:
            apply, variables = _teacher(self.teacher, self.step, self.sha256, inputs)
            return apply(variables, batch)

        if self.weight:
            _teacher(self.teacher, self.step, self.sha256, inputs)
        return distil(loss_of, teacher, temperature=self.temperature, weight=self.weight)


@lru_cache(maxsize=2)
def _teacher(path: str, step: int | None, sha256: str, inputs: tuple[str, ...]) -> tuple[Callable[..., Any], Any]:
    """Return (variables, batch) -> logits of a run's model, and its variables; read once a process."""
    if sha256 and (found := weights_digest(path, step)) != sha256:
        raise BadInput(
            f"the weights of the teacher {path} have changed ({found[:12]}, not {sha256[:12]}): distil again"
        )
    home = RunDirectory.existing(path)
    function = forward(home.config().model, inputs)

    def apply(variables: Any, batch: Any) -> jax.Array:
        others = {name: x for name, x in variables.items() if name != "params"}
        return function(variables["params"], others, batch, jax.random.key(0), train=False)[0]["logits"]

    return apply, read_run(home, step)


def weights_digest(path: str, step: int | None) -> str:
    """Return the SHA-256 of the weights of a run's checkpoint."""
    return read_source(path, step).digest()


def student_config(
    config: Any, teacher: RunDirectory, step: int, out: Path, *, temperature: float, weight: float
) -> Any:
    """Return a config of classification whose loss learns from a run as well.

    Args:
        config: of the student.
        teacher: the run.
        step: its checkpoint.
        out: the directory of the student's run.
        temperature: see `jaxlm.losses.distillation.distil`.
        weight: share of the teacher.

    Raises:
        BadInput: they are not both classifiers of the same inputs and classes.
    """
    theirs = teacher.config()
    for name, one in (("the teacher", theirs), ("the student", config)):
        loss = one.loss.labels if isinstance(one.loss, Distilled) else one.loss
        if not isinstance(loss, Classification):
            raise BadInput(f"{name} is trained by {type(loss).__name__}: only models of classes can be distilled")
    if isinstance(config.loss, Distilled):
        raise BadInput("the student's config is one of a distillation already: give one with a loss of the labels")
    artefacts = config.data.artefacts()
    for name in (CLASSES, TOKENIZER, COLUMNS):
        ours = artefacts.get(name)
        kept = teacher.artefact(name) if (teacher.path / name).is_file() else None
        if ours != kept:
            raise BadInput(f"{name} of the student's data is not that of {teacher.path}: take data of the same form")
    for name in SAME:
        if getattr(config.data, name, None) != getattr(theirs.data, name, None):
            raise BadInput(f"data.{name} of the student is not that of {teacher.path}: take the same normalisation")
    path = str(teacher.path.absolute())
    loss = Distilled(config.loss, path, step, weights_digest(path, step), temperature, weight)
    return dataclasses.replace(config, loss=loss, run=dataclasses.replace(config.run, directory=str(out)))
