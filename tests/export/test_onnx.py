"""ONNX gives the outputs of the model in onnxruntime, where jax2onnx is installed."""

import json

import numpy as np
import pytest

from jaxlm.compress.weights import quantise_model
from jaxlm.errors import BadInput
from jaxlm.export.onnx import INSTALL, convert_to_onnx, onnx_difference, write_onnx
from jaxlm.predict.predictor import stack_rows
from small_models import image_classifier, images


@pytest.mark.slow
@pytest.mark.parametrize("bits", [None, 8])
def test_outputs_are_those_of_the_model_for_any_number_of_rows(tmp_path, bits):
    pytest.importorskip("jax2onnx", reason=INSTALL)
    import onnx
    import onnxruntime

    model = image_classifier() if bits is None else quantise_model(image_classifier(), bits)
    written = write_onnx(tmp_path, model)
    assert written.rows is None
    assert written.difference < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for rows in (1, 6, 10):
        batch = stack_rows([{"image": one} for one in images(rows)], rows)
        (found,) = session.run(["logits"], batch)
        expected = np.asarray(model.predictor.apply(model.variables, batch)["logits"])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    content = json.loads((tmp_path / "predictor.json").read_text())
    assert content["postprocess"]["names"] == ["a", "b", "c"]
    graph = onnx.load(tmp_path / "model.onnx").graph
    kept = {tuple(one.dims) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8}
    assert kept == (set() if bits is None else {(16, 8), (8, 3)})
    assert [node.op_type for node in graph.node].count("DequantizeLinear") == len(kept)


@pytest.mark.slow
def test_a_function_of_one_number_of_rows_says_why(tmp_path):
    pytest.importorskip("jax2onnx", reason=INSTALL)
    weights = np.ones((6, 2), np.float32)  # one for each row
    written = convert_to_onnx(tmp_path / "m.onnx", lambda batch: {"y": batch["x"] * weights}, {"x": weights * 2})
    assert written.rows == 6
    assert written.described.startswith("6 rows at a time alone (")


def test_a_difference_is_absolute_below_one_and_relative_above():
    assert onnx_difference(np.array([0.5, 200.0]), np.array([0.25, 100.0])) == 1.0
    assert onnx_difference(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0.0
    assert onnx_difference(np.array([np.nan]), np.array([1.0])) == np.inf
    assert onnx_difference(np.zeros(2), np.zeros((2, 1))) == np.inf


def test_without_the_packages_it_says_how_to_get_them(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(BadInput, match="pip install --no-deps jax2onnx"):
        write_onnx(tmp_path, image_classifier())
