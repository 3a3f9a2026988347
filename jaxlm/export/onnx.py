"""A predictor's function as ONNX, checked in onnxruntime, for programs that have no JAX.

jax2onnx asks for an older orbax than jaxlm, which it does not need for this, so it is installed without its
dependencies: pip install --no-deps jax2onnx, and pip install onnx onnx-ir onnxruntime einops equinox dm-pix.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlm.data.protocol import Batch
from jaxlm.errors import BadInput, one_line
from jaxlm.export.artefact import to_wire
from jaxlm.export.probes import probe_inputs
from jaxlm.export.write import half_as_data
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import stack_rows

MODEL, HALVES = "model.onnx", "predictor.json"
TOLERANCE = 1e-4  # of outputs, absolute below 1 and relative above
INSTALL = "pip install --no-deps jax2onnx, and pip install onnx onnx-ir onnxruntime einops equinox dm-pix"


class WrittenOnnx(NamedTuple):
    """What came of a conversion.

    Attributes:
        rows: the only number of rows that the file takes; None: any.
        reason: why it takes one number alone; None where it takes any.
        difference: the largest of an output from that of JAX, absolute below 1 and relative above.
    """

    rows: int | None
    reason: str | None
    difference: float

    @property
    def described(self) -> str:
        """Return how many rows it takes, in words."""
        return "any number of rows" if self.rows is None else f"{self.rows} rows at a time alone ({self.reason})"


def write_onnx(folder: Path, model: LoadedModel) -> WrittenOnnx:
    """Write `model.onnx`, and the host halves as data with probes beside it, and compare both on the probes.

    The file takes the arrays of a batch by their names. Weights in 8 bits stay integers, see `convert_to_onnx`.

    Args:
        folder: empty.
        model: of one shape of rows; of several the largest is taken.

    Raises:
        BadInput: the packages are not installed, the model cannot be converted, or its outputs differ.
    """
    given = probe_inputs(model.predictor)
    batch = _prepared(model, given, model.predictor.batch)
    written = convert_to_onnx(folder / MODEL, partial(model.predictor.apply, model.variables), batch)
    halves = {name: half_as_data(getattr(model.predictor, name)) for name in ("preprocess", "postprocess")}
    content = {**halves, "rows": written.rows, "probes": [to_wire(one) for one in given]}
    (folder / HALVES).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return written


def convert_to_onnx(path: Path, apply: Callable[[Any], Mapping[str, Any]], batch: Batch) -> WrittenOnnx:
    """Write a function of a batch as ONNX: with any number of rows, or where that fails with those of the batch.

    Integer weights times a step for each output are kept as they are, behind a DequantizeLinear.

    Law: in onnxruntime its outputs are those of `apply` to 1e-4, for the batch and, where it takes any number of
    rows, for one row and one more.

    Args:
        path: of the file.
        apply: of a batch of arrays [B, ...] by name, to arrays by name.
        batch: an example.

    Raises:
        BadInput: the packages are not installed, the function cannot be converted, or its outputs differ.
    """
    try:
        import jax2onnx
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: {INSTALL}") from None
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    rows, reason = len(next(iter(batch.values()))), None
    one, more = ({name: x[np.arange(n) % rows] for name, x in batch.items()} for n in (1, rows + 1))
    for free in (True, False):
        try:
            _convert(jax2onnx.to_onnx, path, apply, batch, free)
            _keep_integers(path)
            run = open_onnx(path)
            worst = max(_difference(run(given), apply, given) for given in ((batch, one, more) if free else (batch,)))
        except Exception as error:  # of any of its many converters
            reason = one_line(error)
            continue
        if worst <= TOLERANCE:
            return WrittenOnnx(None if free else rows, reason, worst)
        reason = f"onnxruntime's outputs differ by {worst:.2g} from those of JAX"
    raise BadInput(f"the model cannot be converted to ONNX ({reason}): export an artefact")


def open_onnx(path: Path) -> Callable[[Batch], dict[str, np.ndarray]]:
    """Return the function of a batch that onnxruntime computes with a file on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names, outputs = ([one.name for one in found] for found in (session.get_inputs(), session.get_outputs()))
    return lambda batch: dict(zip(outputs, session.run(outputs, {name: batch[name] for name in names}), strict=True))


def _convert(to_onnx: Any, path: Path, apply: Callable[[Any], Mapping[str, Any]], batch: Batch, free: bool) -> None:
    names, outputs = sorted(batch), sorted(jax.eval_shape(apply, batch))
    scope = jax.export.SymbolicScope()

    def spec(x: np.ndarray) -> jax.ShapeDtypeStruct:
        if not free:
            return jax.ShapeDtypeStruct(x.shape, x.dtype)
        dims = ", ".join(["b", *map(str, x.shape[1:])])
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"{dims},", scope=scope), x.dtype)

    def function(*arrays: Any) -> Any:
        found = apply(dict(zip(names, arrays, strict=True)))
        return tuple(found[name] for name in outputs)

    inputs = [spec(batch[name]) for name in names]
    how = {"return_mode": "file", "output_path": str(path), "input_names": names, "output_names": outputs}
    to_onnx(function, inputs, **how)


def _keep_integers(path: Path) -> None:
    """Put a DequantizeLinear in the place of each conversion and product of integer weights with their steps.

    onnxruntime computes those two when it opens a file, and holds the weights in 32 bits from then on.
    """
    import onnx

    model = onnx.load(path)
    graph, used = model.graph, Counter(_names(model.graph))
    weights = {one.name: one for one in graph.initializer}
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.input[0] in weights}
    products = [node for node in graph.node if node.op_type == "Mul" and node.input[0] in casts]
    for node in products:
        if node.input[1] not in weights:
            continue
        cast, steps = casts[node.input[0]], weights[node.input[1]]
        whole = weights[cast.input[0]]
        axes = [axis for axis, size in enumerate(steps.dims) if size > 1]
        alone = used[cast.output[0]] == used[steps.name] == 1
        if not alone or whole.data_type != onnx.TensorProto.INT8 or len(axes) > 1 or len(steps.dims) != len(whole.dims):
            continue
        flat = onnx.numpy_helper.to_array(steps).reshape(-1 if axes else ())
        steps.CopyFrom(onnx.numpy_helper.from_array(flat, steps.name))
        names, how = [whole.name, steps.name], {"axis": axes[0]} if axes else {}
        node.CopyFrom(onnx.helper.make_node("DequantizeLinear", names, list(node.output), **how))
        graph.node.remove(cast)
    if products:
        onnx.save(model, path)


def _names(graph: Any) -> Iterator[str]:
    """Yield what the nodes of a graph, and of those within it, read."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _names(inner)


def _prepared(model: LoadedModel, inputs: list[Any], rows: int) -> Batch:
    """Return the rows of inputs that have the shape of the largest example, as a batch."""
    example = model.predictor.examples[-1]
    shapes = {name: x.shape[1:] for name, x in example.items()}
    found = [row for one in model.predictor.preprocess(inputs) if not isinstance(one, BadInput) for row in one.rows]
    fitting = [row for row in found if {name: x.shape for name, x in row.items()} == shapes]
    return stack_rows(fitting[:rows], rows) if fitting else dict(example)


def _difference(found: Mapping[str, np.ndarray], apply: Callable[[Any], Mapping[str, Any]], given: Batch) -> float:
    expected = jax.device_get(jax.jit(apply)(given))
    return max(onnx_difference(found[name], x) for name, x in expected.items())


def onnx_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two arrays, absolute below 1 and relative above; not finite is infinite."""
    both = [np.asarray(x, np.float64) for x in (found, expected)]
    if both[0].shape != both[1].shape:
        return float("inf")
    with np.errstate(invalid="ignore"):  # infinities that are equal
        relative = np.abs(both[0] - both[1]) / np.maximum(1, np.abs(both[1]))
    worst = relative[both[0] != both[1]].max(initial=0)
    return float("inf") if np.isnan(worst) else float(worst)
