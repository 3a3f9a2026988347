"""Answer an observation of an environment with an action."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.data.readers.json_text import parse_json
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared


@dataclass(frozen=True)
class ReadObservations:
    """Make rows of observations: nested lists of numbers, arrays, or the same as JSON texts.

    Attributes:
        shape: of an observation.
    """

    shape: tuple[int, ...]

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield the row of each observation, {"observation": float32 [*shape]}, or why there is none."""
        for given in inputs:
            try:
                yield Prepared([{"observation": self._read(given)}])
            except BadInput as error:
                yield error

    def _read(self, given: Any) -> np.ndarray:
        value = parse_json(given, "the observation") if isinstance(given, str) else given
        try:
            found = np.asarray(value, np.float32)
        except (TypeError, ValueError, OverflowError):
            raise BadInput("not an observation: give a list of numbers") from None
        if found.shape != self.shape:
            raise BadInput(f"an observation of shape {list(found.shape)}: this agent sees {list(self.shape)}")
        if not np.isfinite(found).all():
            raise BadInput("an observation with a number that is not finite: give finite ones")
        return found


@dataclass(frozen=True)
class TellAction:
    """Answer with what the agent computes for an observation, such as {"action": 1, "value": 93.5}."""

    def __call__(self, outputs: Sequence[Example], context: Any) -> Answer:
        """Return the answer for one observation."""
        del context
        return {name: np.asarray(x).tolist() for name, x in outputs[0].items()}


def action_predictor(act: Callable[[Any, Any], Example], data: Any) -> Predictor:
    """Compose the predictor of an agent.

    Args:
        act: (variables of the run, observations float32 [B, ...]) -> arrays [B, ...] by name, "action" among them.
        data: the `Episodes` of the run.
    """
    shape = tuple(data.environment.observation_space.shape)
    example = {"observation": np.zeros((data.eval_batch or data.eval_episodes, *shape), np.float32)}
    return Predictor(
        ReadObservations(shape),
        lambda variables, batch: act(variables, batch["observation"]),
        TellAction(),
        (example,),
    )
