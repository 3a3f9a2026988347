"""A model that computes in integers: its ranges, its rows, and what it cannot be made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from digit_runs import DIGITS, SMALL
from digit_runs import jaxlm as command
from jaxlm.compress.static import calibration_batches, measure_ranges, quantise_static
from jaxlm.errors import BadInput
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.losses import IMAGE
from jaxlm.models.cnn import CNN
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.images import ReadImages
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Predictor, forward, in_evaluation, zeros
from jaxlm.steps import transforms
from small_models import image_classifier, images


def small_cnn():
    """A CNN of grey images of 4 x 4 pixels, with convolutions and dense layers."""
    model = CNN(classes=3, widths=(4,), hidden=8, norm="none")
    variables = model.init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
    prepare = lambda batch: {"image": batch["image"] / jnp.float32(255)}  # noqa: E731
    logits = transforms.prepare(forward(model, IMAGE), prepare)
    example = zeros({"image": np.zeros((4, 4, 1), np.uint8)}, 6)
    halves = ReadImages((4, 4, 1)), ClassProbabilities(("a", "b", "c"))
    return LoadedModel(Predictor(halves[0], in_evaluation(logits), halves[1], (example,)), variables)


def batches():
    found = np.stack(images(12)).reshape(2, 6, 4, 4, 1)
    return [{"image": batch} for batch in found]


def test_ranges_are_the_largest_inputs_of_all_batches():
    model = image_classifier()
    found = measure_ranges(model, batches())
    assert found.keys() == {f"{path}/kernel" for path in model.variables["params"]}
    first, head = sorted(found, key=lambda name: name == "head/kernel")
    x = np.stack(images(12)).reshape(12, -1).astype(np.float32) / 255
    np.testing.assert_allclose(found[first], x.max(), rtol=1e-6)
    layer = jax.device_get(model.variables["params"][first.removesuffix("/kernel")])
    np.testing.assert_allclose(found[head], np.maximum(x @ layer["kernel"] + layer["bias"], 0).max(), rtol=1e-5)


def test_a_row_is_answered_alike_in_every_batch_near_the_whole_model_and_from_an_artefact(tmp_path):
    model = small_cnn()
    small = quantise_static(model, measure_ranges(model, batches()))
    apply, batch = jax.jit(small.predictor.apply), batches()[0]
    together = np.asarray(apply(small.variables, batch)["logits"])
    for size in (1, 2, 3):
        parts = [apply(small.variables, {"image": batch["image"][at : at + size]}) for at in range(0, 6, size)]
        np.testing.assert_array_equal(np.concatenate([part["logits"] for part in parts]), together)
    whole = np.asarray(model.predictor.apply(model.variables, batch)["logits"])
    assert 0 < np.abs(together - whole).max() < 0.1 * np.abs(whole).max()
    write_artefact(tmp_path, small, ModelFacts("small", 1))
    assert jaxlm.load(tmp_path)(images(6)) == small(images(6))


def test_what_cannot_be_computed_in_integers_is_refused():
    whole = image_classifier()
    writer = LoadedModel(dataclasses.replace(whole.predictor, decoder=object()), whole.variables)
    with pytest.raises(BadInput, match="continues texts"):
        quantise_static(writer, {"a": 1.0})
    with pytest.raises(BadInput, match="no dense layer or convolution"):
        quantise_static(whole, {})
    with pytest.raises(BadInput, match="training batches have no image"):
        calibration_batches(whole, [{"tokens": np.zeros(3)}], 1)
    first = next(name for name in whole.variables["params"] if name != "head")
    whole.variables["params"][first]["bias"] = np.full(8, np.inf, np.float32)
    with pytest.raises(BadInput, match="the input of head/kernel is not finite"):
        measure_ranges(whole, batches())


@pytest.mark.slow
def test_the_command_scores_both_and_writes_an_artefact(tmp_path):
    run, out = tmp_path / "run", tmp_path / "small"
    assert command("train", DIGITS[1], *SMALL, "--run.directory", run)[0] == 0
    code, told, error = command("compress", run, out, "--int8-static", 2)
    assert code == 0, error
    rows = [line for line in told.splitlines() if line.startswith(("float32", "int8 static"))]
    assert len(rows) == 2
    assert "6 layers compute in 8-bit integers" in (out / "README.md").read_text()
    assert {"label", "probability"} <= jaxlm.load(out)([np.zeros((8, 8, 1), np.uint8)])[0].keys()
    none = ("compress", run, tmp_path / "none")
    assert "--int8-static is 0" in command(*none, "--int8-static", 0)[2]
    assert "--to onnx is for 8 and 4 bits" in command(*none, "--prune", 0.5, "--to", "onnx")[2]
