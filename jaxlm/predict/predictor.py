"""What turns raw inputs into answers: two halves on the host, and a pure function of arrays between them."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.protocol import Batch
from jaxlm.decode.generate import power_of_two
from jaxlm.decode.slots import SlotDecoder
from jaxlm.errors import BadInput
from jaxlm.runs.serialise import misfit
from jaxlm.steps import LossFn

Answer = dict[str, Any]  # JSON
Example = dict[str, np.ndarray]  # one example: the arrays of a batch without their leading axis


class Prepared(NamedTuple):
    """An input as arrays.

    Attributes:
        rows: one, or several where a long text is cut into windows.
        context: what `postprocess` reads beside the outputs, such as the text and the places of its words.
    """

    rows: Sequence[Example]
    context: Any = None


@dataclass(frozen=True)
class Predictor:
    """How a model answers raw inputs: what an experiment file's `predictor(config, run)` returns.

    Both host halves are frozen dataclasses of plain values and tokenizers, so that `runs.serialise.to_json` keeps them
    as data and `from_json` gives them back without the experiment's code. The fields that a caller may change with
    `with_options` are named in their class variable `options`.

    Attributes:
        preprocess: raw inputs -> for each of them `Prepared`, or the `BadInput` that says why it cannot be read. A row
            has one of a few shapes.
        apply: (variables, batch) -> arrays with one row an example; pure, can be compiled.
        postprocess: (the outputs of an input's rows, its context) -> an answer that is JSON.
        examples: a batch of zeros for each shape that is known beforehand, the largest last. The leading axis is that
            of the evaluation, so that answers can equal it bit for bit.
        shapes: of arrays with an axis of any length, the shape of a row as `jax.export.symbolic_shape` reads it, such
            as {"tokens": "p"}; the other arrays have the sizes of an example.
        limits: of these lengths, such as "p >= 2".
        decoder: of a model that continues texts, what decodes several of them at a time; None: it does not.
    """

    preprocess: Callable[[Iterable[Any]], Iterator[Prepared | BadInput]]
    apply: Callable[[Any, Any], Any]
    postprocess: Callable[[Sequence[Example], Any], Answer]
    examples: tuple[Batch, ...]
    shapes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ()
    decoder: SlotDecoder | None = None

    @property
    def batch(self) -> int:
        """Return the rows of a full batch."""
        return len(next(iter(self.examples[-1].values())))

    def with_options(self, **options: Any) -> "Predictor":
        """Return the predictor with other values of the options of its halves, such as `top` or `temperature`.

        Raises:
            BadInput: there is no such option, or the value cannot be.
        """
        changed: dict[str, Any] = {}
        for half in ("preprocess", "postprocess"):
            value = getattr(self, half)
            own = {name: options.pop(name) for name in getattr(value, "options", ()) if name in options}
            if wrong := misfit(type(value), own):
                raise BadInput(f"the option {wrong}")
            changed[half] = dataclasses.replace(value, **own) if own else value
        if options:
            known = [name for half in changed.values() for name in getattr(half, "options", ())]
            raise BadInput(
                f"this run's predictor has no option {', '.join(options)}: it has {', '.join(known) or 'none'}"
            )
        return dataclasses.replace(self, **changed)


def forward(model: Any, inputs: tuple[str, ...]) -> LossFn:
    """Return a function with the arguments of a loss that gives {"logits": float32} in the place of the metrics.

    So the transforms of losses apply to it: `transforms.cast` and `transforms.prepare` make the logits here what they
    are in the evaluation.

    Args:
        model: a Linen module, or what has its `apply`.
        inputs: what the model takes of a batch, such as `losses.TEXT`: the first entry as its argument, the others by
            their names where the batch has them.
    """

    def function(params: Any, variables: Any, batch: Any, key: Any, *, train: bool) -> tuple[Any, Any]:
        del key
        layout = {name: batch[name] for name in inputs[1:] if name in batch}
        logits = model.apply({"params": params, **variables}, batch[inputs[0]], train=train, **layout)
        return {"logits": logits.astype(jnp.float32)}, variables

    return function


def in_evaluation(function: LossFn) -> Callable[[Any, Any], Any]:
    """Turn a function with the arguments of a loss into (variables, batch) -> arrays, as an evaluation calls it."""

    def apply(variables: Any, batch: Any) -> Any:
        others = {name: tree for name, tree in variables.items() if name != "params"}
        outputs, _ = function(variables["params"], others, batch, jax.random.key(0), train=False)
        return outputs

    return apply


def zeros(row: Example, batch: int) -> Batch:
    """Return a batch of zeros of rows like this one."""
    return {name: np.zeros((batch, *x.shape), x.dtype) for name, x in row.items()}


def answer_all(
    predictor: Predictor, variables: Any, inputs: Sequence[Any], *, batch: int | None = None
) -> Iterator[Answer | BadInput]:
    """Answer raw inputs in order, one answer an input; one that cannot be answered gives its `BadInput` instead.

    Rows of one shape are computed together, filled up with rows of zeros, so that one program is compiled for each
    shape.

    Law: a row's output depends on the row, its shape and `batch` alone. On at least as many inputs as a batch of the
    evaluation has, outputs are therefore those of the evaluation, bit for bit.

    Args:
        predictor: of a run.
        variables: {"params": ..., other collections}.
        inputs: raw ones.
        batch: rows at a time; None is that of the evaluation, or the smallest power of two that holds fewer inputs.
    """
    size = batch or min(predictor.batch, power_of_two(max(len(inputs), 1)))
    apply = jax.jit(predictor.apply)
    waiting: dict[Any, list[tuple[_Pending, int]]] = {}
    pending: deque[_Pending] = deque()

    def compute(group: list[tuple[_Pending, int]]) -> None:
        rows = [found.prepared.rows[place] for found, place in group]
        try:
            outputs = jax.device_get(apply(variables, stack_rows(rows, size)))
        except BadInput as error:  # an artefact has no program for rows of this shape
            for found, _ in group:
                found.error = error
            return
        for number, (found, place) in enumerate(group):
            found.outputs[place] = {name: x[number] for name, x in outputs.items()}

    for prepared in predictor.preprocess(inputs):
        pending.append(_Pending(prepared))
        for place, row in enumerate(pending[-1].prepared.rows):
            group = waiting.setdefault(row_shape(row), [])
            group.append((pending[-1], place))
            if len(group) == size:
                compute(waiting.pop(row_shape(row)))
        while pending and pending[0].complete:
            yield pending.popleft().answer(predictor)
    for group in waiting.values():
        compute(group)
    for found in pending:
        yield found.answer(predictor)


class _Pending:
    """An input on its way to its answer."""

    def __init__(self, prepared: Prepared | BadInput):
        self.error = prepared if isinstance(prepared, BadInput) else None
        self.prepared = Prepared(()) if isinstance(prepared, BadInput) else prepared
        self.outputs: list[Example | None] = [None] * len(self.prepared.rows)

    @property
    def complete(self) -> bool:
        return self.error is not None or None not in self.outputs

    def answer(self, predictor: Predictor) -> Answer | BadInput:
        if self.error is not None:
            return self.error
        try:
            return predictor.postprocess([row for row in self.outputs if row is not None], self.prepared.context)
        except BadInput as error:
            return error


def row_shape(row: Example) -> Any:
    """Return what rows must share to be computed together: names, shapes and dtypes."""
    return tuple((name, x.shape, x.dtype.str) for name, x in sorted(row.items()))


def stack_rows(rows: Sequence[Example], batch: int) -> Batch:
    """Return rows as a batch, with rows of zeros at its end."""
    stacked = zeros(rows[0], batch)
    for name, x in stacked.items():
        x[: len(rows)] = [row[name] for row in rows]
    return stacked
