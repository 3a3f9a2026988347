"""A functional research toolkit in JAX: training steps are values that compose."""

from typing import Any, Literal


def load(path: Any, step: int | Literal["best"] | None = None) -> Any:
    """Open a run or an artefact to predict with it: `jaxlm.load(PATH)(inputs)` is a list of answers that are JSON.

    A run executes the experiment file that it kept; an artefact (`jaxlm export`) executes no code of its own.

    Args:
        path: a run directory, or the folder of an artefact.
        step: the checkpoint of a run: its updates, "best" by the metric of the run, or None for the newest.

    Returns:
        A `jaxlm.predict.load.LoadedModel`.

    Raises:
        BadInput: there is nothing that can be opened.
    """
    from jaxlm.export.load import load_model  # here: importing jaxlm alone loads nothing else

    return load_model(path, step)
