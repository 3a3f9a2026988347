"""A functional research toolkit in JAX: training steps are values that compose."""

from typing import Any, Literal


def load(path: Any, step: int | Literal["best"] | None = None) -> Any:
    """Open a run to predict with it: `jaxlm.load(RUN)(inputs)` is a list of answers that are JSON.

    Args:
        path: a run directory.
        step: the checkpoint: its updates, "best" by the metric of the run, or None for the newest.

    Returns:
        A `jaxlm.predict.load.LoadedRun`.

    Raises:
        BadInput: there is nothing that can be opened.
    """
    from jaxlm.predict.load import load_run  # here: importing jaxlm alone loads nothing else

    return load_run(path, step)
