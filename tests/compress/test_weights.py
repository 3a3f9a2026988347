"""A compressed model answers like its own dequantised weights, in a quarter of the bytes."""

import asyncio

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.compress.measure import comparison, measure_models
from jaxlm.compress.weights import quantise_model
from jaxlm.errors import BadInput
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.nn.quantise import dequantise
from jaxlm.predict.load import LoadedModel
from jaxlm.serve.engine import Engine, TextRequest
from small_models import image_classifier, images, text_model


@pytest.mark.parametrize("bits", [8, 4])
def test_answers_are_those_of_the_restored_weights_and_survive_an_artefact(bits, tmp_path):
    whole = image_classifier()
    small = quantise_model(whole, bits)
    restored = LoadedModel(whole.predictor, jax.device_get(dequantise(small.variables)))
    assert small(images(6)) == restored(images(6))
    write_artefact(tmp_path, small, ModelFacts("small", 1))
    assert jaxlm.load(tmp_path)(images(6)) == small(images(6))
    kinds = {str(np.asarray(leaf).dtype) for leaf in leaves_by_path(jaxlm.load(tmp_path).variables).values()}
    assert ("int8" if bits == 8 else "uint8") in kinds


@pytest.mark.parametrize("bits", [8, 4])
def test_texts_are_written_with_the_restored_weights_in_slots_too(bits, tmp_path):
    small = quantise_model(text_model(), bits)
    write_artefact(tmp_path, small, ModelFacts("text", 1))
    opened = jaxlm.load(tmp_path)
    engine = Engine(opened.predictor.decoder, opened.variables, slots=2)
    engine.start()

    async def written():
        return [token async for token in engine.write(TextRequest(list(b"the"), 12))]

    text = bytes(asyncio.run(written())).decode("utf-8", "replace")
    engine.close()
    assert text == opened(["the"], length=12)[0]["text"] == small(["the"], length=12)[0]["text"]


def test_a_table_compares_bytes_times_and_scores():
    whole = image_classifier()
    models = {"float32": (whole, {"eval/accuracy": 0.5}), "int8": (quantise_model(whole, 8), {"eval/accuracy": 0.25})}
    found = measure_models(models, images(1))
    assert 0.25 < found["int8"].size / found["float32"].size < 1
    assert all(one.latency > 0 and one.throughput > 0 for one in found.values())
    lines = comparison(found).splitlines()
    assert lines[0].split()[-1] == "eval/accuracy"
    assert [line.split()[-1] for line in lines[2:]] == ["0.5", "0.25"]


def test_weights_that_are_not_finite_are_named():
    whole = image_classifier()
    whole.variables["params"]["head"]["kernel"] = np.full((8, 3), np.nan, np.float32)
    with pytest.raises(BadInput, match="params/head/kernel has weights that are not finite"):
        quantise_model(whole, 8)
