"""The training loop. At most a few updates are in flight at a time, see `Meter`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from jaxlm.steps import StepFn
from jaxlm.train.meter import Meter

Hook = Callable[[Any, int], str | None]


def fit(
    step: StepFn,
    state: Any,
    batches: Iterator[Any],
    meter: Meter,
    *,
    start: int,
    stop: int,
    stride: int = 1,
    hooks: Iterable[Hook] = (),
) -> tuple[Any, int, str | None]:
    """Run a compiled step from `start` to `stop` completed updates.

    Args:
        step: the compiled step.
        state: the state after `start` updates.
        batches: an iterator with the batch of update `start` first.
        meter: sums the metrics and bounds the calls in flight.
        start: updates completed before.
        stop: updates completed at the end.
        stride: updates in one call of `step`.
        hooks: called after every call with the state and the number of updates completed; one that returns a reason
            ends the loop.

    Returns:
        The state, the updates completed, and the reason of the first hook that gave one, or None.
    """
    completed, reason = start, None
    while completed < stop and reason is None:
        batch = meter.wait(batches)
        state, metrics = step(state, batch)
        completed += stride
        meter.add(completed, metrics)
        reasons = [hook(state, completed) for hook in hooks]
        reason = next(filter(None, reasons), None)
    meter.flush()
    return state, completed, reason


def every(interval: int, hook: Hook) -> Hook:
    """Call a hook at multiples of `interval` updates; never for 0."""
    return lambda state, completed: hook(state, completed) if interval and completed % interval == 0 else None


def shapes_of(batch: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shape of every array of a batch."""
    return tuple(x.shape for x in jax.tree.leaves(batch))


def compile_by_shape(compile_for: Callable[[Any, Any], StepFn]) -> StepFn:
    """Compile a step for each shape of batches, at the first batch that has it.

    Args:
        compile_for: (state, batch) -> a compiled step for their shapes.
    """
    programs: dict[Any, StepFn] = {}

    def step(state: Any, batch: Any) -> Any:
        shapes = shapes_of(batch)
        if shapes not in programs:
            programs[shapes] = compile_for(state, batch)
        return programs[shapes](state, batch)

    return step
