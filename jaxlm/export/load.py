"""Open a model from wherever it is: a run, or an artefact."""

from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.export.artefact import is_artefact, load_artefact
from jaxlm.predict.load import LoadedModel, load_run
from jaxlm.runs.checkpoint import CheckpointStep


def load_model(path: str | Path, step: CheckpointStep = None) -> LoadedModel:
    """Open a run or an artefact as a function from raw inputs to answers.

    Args:
        path: of its folder.
        step: the checkpoint of a run, see `load_run`.

    Raises:
        BadInput: there is neither of them, or it is damaged.
    """
    if not is_artefact(path):
        return load_run(path, step)
    if step is not None:
        raise BadInput(f"{path} is an artefact, which has one set of weights: leave the step out")
    return load_artefact(path)
