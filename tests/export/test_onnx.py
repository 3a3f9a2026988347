"""ONNX gives the outputs of the model in onnxruntime, where jax2onnx is installed."""

import json

import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.export.onnx import INSTALL, write_onnx
from jaxlm.predict.predictor import stack_rows
from small_models import image_classifier, images


@pytest.mark.slow
def test_outputs_are_those_of_the_model(tmp_path):
    pytest.importorskip("jax2onnx", reason=INSTALL)
    import onnxruntime

    model = image_classifier()
    assert write_onnx(tmp_path, model) < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    batch = stack_rows([{"image": one} for one in images(6)], 6)
    (found,) = session.run(["logits"], batch)
    expected = np.asarray(model.predictor.apply(model.variables, batch)["logits"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    content = json.loads((tmp_path / "predictor.json").read_text())
    assert content["postprocess"]["names"] == ["a", "b", "c"]


def test_without_the_packages_it_says_how_to_get_them(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(BadInput, match="pip install --no-deps jax2onnx"):
        write_onnx(tmp_path, image_classifier())
