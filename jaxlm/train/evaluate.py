"""Evaluate a state on data: sums on the devices, scores on the host."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from jaxlm.data.loader import batches
from jaxlm.data.protocol import Batch, Data
from jaxlm.interrupt import leave_if_stopped
from jaxlm.parallel import Placement
from jaxlm.steps import Metrics, compute, merge, require_sums
from jaxlm.train.meter import widen


@dataclass(frozen=True)
class Evaluation:
    """A set of examples and what is measured on it.

    Attributes:
        data: finite; every example exactly once, with a "mask" that is 0 on padding rows. Batches of jaxlm's own data
            come with "keys", a PRNG key for each example, which is the same in every evaluation.
        outputs: (state, batch) -> Metrics, such as `steps.evaluate(loss)`, whose sums are added over devices and
            batches; or, where there is a `score`, (state, batch) -> arrays (B, ...), one row an example.
        score: (arrays, batch) -> Metrics on the host, for what no sum on a device can compute: BLEU, word error rate,
            mAP. Both arguments are NumPy arrays with their padding rows.
        every: updates between two evaluations; None is `run.eval_every`, 0 only at the end.
    """

    data: Data
    outputs: Callable[[Any, Any], Any]
    score: Callable[[Any, Batch], Metrics] | None = None
    every: int | None = None


class Evaluator:
    """The evaluations of an experiment, each compiled once."""

    def __init__(self, evaluations: Mapping[str, Evaluation], place: Placement):
        self._evaluations, self._place = evaluations, place
        self._programs: dict[str, Callable[[Any, Any], Any]] = {}

    def sums(self, name: str, state: Any) -> Metrics:
        """Return the metrics of one evaluation, merged over its data, on the host in 64 bits.

        Raises:
            Stopped: a signal came that waits for an update; it need not wait for an evaluation.
        """
        evaluation, put = self._evaluations[name], self._place.put
        program = self._programs.setdefault(name, self._compile(evaluation))
        data = evaluation.data.with_keys() if hasattr(evaluation.data, "with_keys") else evaluation.data
        stream = partial(batches, data, 0, len(data))
        if evaluation.score is None:
            return measure(program, state, stream(put=put))
        pairs = stream(put=lambda batch: (put(batch), batch))
        return merge(*(evaluation.score(out, batch) for out, batch in _outputs(program, state, pairs)))

    def numbers(self, names: Iterable[str], state: Any) -> dict[str, float]:
        """Return the numbers of evaluations, as {"eval/loss": 0.5, ...}."""
        return {key: x for name in names for key, x in compute(self.sums(name, state), f"{name}/").items()}

    def _compile(self, evaluation: Evaluation) -> Callable[[Any, Any], Any]:
        if evaluation.score is not None:
            return self._place.map(evaluation.outputs)
        return self._place.compile(self._place.reduce_metrics(_sums_of(evaluation.outputs)), donate=False)


@lru_cache(maxsize=8)
def _sums_of(outputs: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Metrics]:
    """Check that outputs are sums. Cached, since jax finds what it has compiled by the identity of a function."""
    return lambda state, batch: require_sums(outputs(state, batch))


def measure(evaluate: Callable[[Any, Any], Metrics], state: Any, stream: Iterable[Any]) -> Metrics:
    """Merge the metrics of a compiled evaluation over batches, on the host, in float64 and int64."""
    sums: Metrics = {}
    for metrics in _behind(evaluate(state, batch) for batch in stream):
        sums = merge(sums, widen(metrics)) if sums else widen(metrics)
    return sums


def _outputs(program: Callable[[Any, Any], Any], state: Any, pairs: Iterable[Any]) -> Iterator[tuple[Any, Batch]]:
    for arrays, batch in _behind((program(state, sent), batch) for sent, batch in pairs):
        yield jax.tree.map(np.asarray, arrays), batch


def _behind(results: Iterable[Any], count: int = 2) -> Iterator[Any]:
    """Yield results `count` later than they are dispatched, so that the host works while the devices do."""
    queue: deque[Any] = deque()
    for result in results:
        leave_if_stopped()
        queue.append(result)
        if len(queue) > count:
            yield queue.popleft()
    yield from queue
