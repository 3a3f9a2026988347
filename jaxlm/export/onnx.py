"""A predictor's function as ONNX, checked in onnxruntime, for programs that have no JAX.

jax2onnx asks for an older orbax than jaxlm, which it does not need for this, so it is installed without its
dependencies: pip install --no-deps jax2onnx, and pip install onnx onnx-ir onnxruntime einops equinox dm-pix.
"""

import json
import logging
from pathlib import Path
from typing import Any

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


def write_onnx(folder: Path, model: LoadedModel) -> float:
    """Write `model.onnx`, and the host halves as data with probes beside it, and compare both on the probes.

    The model takes the arrays of a batch by their names, with the number of rows of the evaluation.

    Args:
        folder: empty.
        model: of one shape of rows; of several the largest is taken.

    Returns:
        The largest difference of an output from that of JAX, absolute below 1 and relative above.

    Raises:
        BadInput: the packages are not installed, the model cannot be converted, or its outputs differ.
    """
    try:
        import onnxruntime
        from jax2onnx import to_onnx
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: {INSTALL}") from None
    example = model.predictor.examples[-1]
    names = sorted(example)

    def function(*arrays: Any) -> Any:
        found = model.predictor.apply(model.variables, dict(zip(names, arrays, strict=True)))
        return tuple(found[name] for name in sorted(found))

    outputs = sorted(jax.eval_shape(model.predictor.apply, model.variables, example))
    rows = model.predictor.batch
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        inputs = [jax.ShapeDtypeStruct((rows, *example[name].shape[1:]), example[name].dtype) for name in names]
        to_onnx(
            function,
            inputs,
            return_mode="file",
            output_path=str(folder / MODEL),
            input_names=names,
            output_names=outputs,
        )
    except Exception as error:  # of any of its many converters
        raise BadInput(f"the model cannot be converted to ONNX ({one_line(error)}): export an artefact") from None
    session = onnxruntime.InferenceSession(str(folder / MODEL), providers=["CPUExecutionProvider"])
    given = probe_inputs(model.predictor)
    batch = _prepared(model, given, rows)
    expected = jax.device_get(jax.jit(model.predictor.apply)(model.variables, batch))
    found = dict(zip(outputs, session.run(outputs, {name: batch[name] for name in names}), strict=True))
    worst = max(_difference(found[name], expected[name]) for name in outputs)
    if not worst <= TOLERANCE:
        raise BadInput(f"onnxruntime's outputs differ by {worst:.2g} from those of JAX: export an artefact")
    halves = {name: half_as_data(getattr(model.predictor, name)) for name in ("preprocess", "postprocess")}
    content = {**halves, "rows": rows, "probes": [to_wire(one) for one in given]}
    (folder / HALVES).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return worst


def _prepared(model: LoadedModel, inputs: list[Any], rows: int) -> Batch:
    """Return the rows of inputs that have the shape of the largest example, as a batch."""
    example = model.predictor.examples[-1]
    shapes = {name: x.shape[1:] for name, x in example.items()}
    found = [row for one in model.predictor.preprocess(inputs) if not isinstance(one, BadInput) for row in one.rows]
    fitting = [row for row in found if {name: x.shape for name, x in row.items()} == shapes]
    return stack_rows(fitting[:rows], rows) if fitting else dict(example)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    both = [np.asarray(x, np.float64) for x in (found, expected)]
    return float((np.abs(both[0] - both[1]) / np.maximum(1, np.abs(both[1]))).max(initial=0))
