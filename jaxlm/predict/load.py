"""Open a run to predict with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput, join_reasons
from jaxlm.predict.predictor import Answer, Predictor, answer_all
from jaxlm.runs.checkpoint import CheckpointStep
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.load import load_module
from jaxlm.runs.weights import read_run


@dataclass(frozen=True)
class LoadedModel:
    """A model as a function from raw inputs to answers.

    Attributes:
        predictor: what the run's experiment file makes of its config, or what an artefact holds.
        variables: what `predictor.apply` takes first, {"params": ..., other collections}: the average where one is
            kept.
    """

    predictor: Predictor
    variables: Any

    def __call__(self, inputs: Sequence[Any], *, batch: int | None = None, **options: Any) -> list[Answer]:
        """Answer a list of raw inputs: texts, paths of images or arrays of them, conversations.

        Args:
            inputs: a list; one answer an input, in its order.
            batch: rows computed at a time, see `answer_all`.
            **options: of the predictor, such as `top=3` or `temperature=0.8`.

        Raises:
            BadInput: inputs that cannot be read, which are named by their numbers from 0, or no such option.
        """
        if isinstance(inputs, (str, bytes, Path, dict)):
            raise BadInput(f"inputs is one {type(inputs).__name__}: give a list of inputs, [input]")
        predictor = self.predictor.with_options(**options)
        found = list(answer_all(predictor, self.variables, inputs, batch=batch))
        answers = [answer for answer in found if not isinstance(answer, BadInput)]
        if len(answers) < len(found):
            errors = [f"input {number}: {e}" for number, e in enumerate(found) if isinstance(e, BadInput)]
            raise BadInput(join_reasons(errors))
        return answers


def load_run(path: str | Path, step: CheckpointStep = None) -> LoadedModel:
    """Open a run with the experiment file that it kept and the weights of a checkpoint.

    Args:
        path: a run directory.
        step: the checkpoint: its updates, "best" by the metric of the run, or None for the newest.

    Raises:
        BadInput: no run, no such checkpoint, or an experiment file without a predictor.
    """
    run = RunDirectory.existing(path)
    kept = run.experiment
    module = load_module(kept)
    if not hasattr(module, "predictor"):
        raise BadInput(
            f"{kept} defines no predictor(config, run): add one, as experiments/text_classification.py has, to "
            "predict with this run"
        )
    return LoadedModel(module.predictor(run.config(), run), read_run(run, step))
