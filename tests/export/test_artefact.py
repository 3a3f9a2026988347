"""An artefact gives its run's answers without the run's code, and is refused where one byte of it is another."""

import json
import shutil

import numpy as np
import pytest

import jaxlm
from jaxlm.errors import BadInput
from jaxlm.export.artefact import MANIFEST, answers_differ, check_jax, open_artefact
from jaxlm.export.card import ModelFacts
from jaxlm.export.programs import Program
from jaxlm.export.write import half_as_data, write_artefact
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.runs.serialise import read_digested, write_digested
from small_models import image_classifier, images, text_model


@pytest.fixture(scope="module")
def classifier():
    return image_classifier()


@pytest.fixture(scope="module")
def whole(classifier, tmp_path_factory):
    """Its artefact, which no test changes."""
    folder = tmp_path_factory.mktemp("whole")
    write_artefact(folder, classifier, ModelFacts("small", 7, "A test.", {"eval/accuracy": 0.5}))
    return folder


@pytest.fixture
def artefact(whole, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(whole, tmp_path / "artefact")


@pytest.mark.parametrize("count", [1, 5, 6, 13])
def test_any_number_of_inputs_has_the_answers_of_the_model(classifier, whole, count):
    assert jaxlm.load(whole)(images(count)) == classifier(images(count))


def test_a_text_of_any_length_is_continued_as_by_the_model(tmp_path):
    loaded = text_model()
    write_artefact(tmp_path, loaded, ModelFacts("text", 1))
    opened = jaxlm.load(tmp_path)
    for length in (1, 5, 16):
        texts = ["a", "the licence", "and some more text of it"]
        assert opened(texts, length=length) == loaded(texts, length=length)
    assert opened(["a"], temperature=1.0, seed=3) == loaded(["a"], temperature=1.0, seed=3)
    assert opened.predictor.decoder.pieces == (8, 32)
    without_short_pieces(tmp_path)
    decoder = jaxlm.load(tmp_path).predictor.decoder
    assert decoder.pieces == (32,)
    assert decoder.init(loaded.variables, 2)[0].shape[0] == 2


def without_short_pieces(folder):
    """Make an artefact what it was when a prompt was read by one program."""
    manifest = read_digested(folder / MANIFEST, {})
    (folder / "prefill-32.stablehlo").rename(folder / "prefill.stablehlo")
    (folder / "prefill-8.stablehlo").unlink()
    del manifest["decoder"]["pieces"]
    files = manifest["files"]
    files["prefill.stablehlo"] = files.pop("prefill-32.stablehlo")
    del files["prefill-8.stablehlo"]
    write_digested(folder / MANIFEST, manifest)


def test_a_flipped_byte_anywhere_is_refused_and_its_file_named(artefact):
    rng = np.random.default_rng(0)
    for file in sorted(artefact.iterdir()):
        content = file.read_bytes()
        for place in [0, len(content) - 1, *rng.integers(0, len(content), 10)]:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(0, 8))
            file.write_bytes(changed)
            with pytest.raises(BadInput, match=file.name):
                open_artefact(artefact)
        file.write_bytes(content)
    open_artefact(artefact)


def test_a_file_too_many_or_too_few_is_refused_and_named(artefact):
    (artefact / "model.py").write_text("print()")
    with pytest.raises(BadInput, match=r"model\.py is no part"):
        open_artefact(artefact)
    (artefact / "model.py").unlink()
    (artefact / "probes.json").unlink()
    with pytest.raises(BadInput, match=r"probes\.json is missing"):
        open_artefact(artefact)


def rewritten(artefact, **changes):
    """The same artefact with other fields and a digest that fits them."""
    content = read_digested(artefact / MANIFEST, {})
    write_digested(artefact / MANIFEST, content | changes)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("preprocess", {"type": "jaxlm.verbs.options:Secret"}, "no part of a predictor"),
        ("preprocess", {"type": "subprocess:Popen", "args": ["true"]}, "no part of a predictor"),
        ("postprocess", {"type": "jaxlm.predict.load:load_run"}, "not a dataclass"),
        ("postprocess", {"type": "jaxlm.predict.classes:ClassProbabilities", "names": 3}, "must be"),
        ("format", 99, "install a newer one"),
        ("oldest_jax", "99.0", "needs jax 99.0"),
        ("programs", [], "has programs for none"),
        ("programs", [{"file": "../x"}], "not as jaxlm writes it"),
        ("batch", -1, "not as jaxlm writes it"),
    ],
)
def test_what_is_not_data_of_a_predictor_is_refused(artefact, field, value, told):
    rewritten(artefact, **{field: value})
    with pytest.raises(BadInput, match=told):
        jaxlm.load(artefact)


def test_a_half_that_is_not_of_jaxlm_is_not_written():
    class Own(ClassProbabilities):
        pass

    Own.__module__ = "jaxlm.runs.load./home/me#0.experiment"
    with pytest.raises((BadInput, KeyError)):
        half_as_data(Own(("a",)))
    with pytest.raises(BadInput, match="as data"):
        half_as_data(ClassProbabilities(({"a"},)))


def test_probes_are_kept_with_their_answers_and_the_card_tells_the_scores(whole, classifier):
    inputs, answers = map(list, zip(*open_artefact(whole).probes(), strict=True))
    assert len(inputs) == 4
    assert json.loads(json.dumps(classifier(inputs))) == answers
    text = (whole / "README.md").read_text()
    assert "| eval/accuracy | 0.5 |" in text
    assert "A test." in text


def test_a_row_of_another_shape_has_no_program_and_is_said_to_have_none(whole):
    model = jaxlm.load(whole)
    with pytest.raises(BadInput, match="has no program here"):
        model.predictor.apply(model.variables, {"image": np.zeros((1, 5, 4, 1), np.uint8)})


def test_a_program_fits_shapes_with_free_lengths_and_multiples():
    program = Program("f", ("cpu",), {"x": "int32", "y": "float32"}, {"x": "p, 4", "y": "40*k"}, None)

    def batch(x, y, dtype=np.int32):
        return {"x": np.zeros((2, *x), dtype), "y": np.zeros((2, *y), np.float32)}

    assert program.fits(batch((9, 4), (80,)))
    assert not program.fits(batch((9, 5), (80,)))
    assert not program.fits(batch((9, 4), (81,)))
    assert not program.fits(batch((9, 4), (80,), np.int64))
    assert not program.fits({"x": np.zeros((2, 9, 4), np.int32)})
    assert program.example(3) is None
    found = Program("f", ("cpu",), {"x": "int32", "n": "float32"}, {"x": "12, 4", "n": ""}, None).example(3)
    assert {name: (x.shape, str(x.dtype)) for name, x in found.items()} == {
        "x": ((3, 12, 4), "int32"),
        "n": ((3,), "float32"),
    }


def test_differences_name_the_place():
    assert answers_differ({"a": [1, 2.0]}, {"a": [1, 2.0]}) is None
    assert answers_differ({"a": [1, 2.5]}, {"a": [1, 2.0]}) == ".a[1] is 2.5, and was 2.0"
    assert answers_differ({"a": 1.0000001}, {"a": 1.0}, 1e-6) is None
    assert answers_differ({"a": True}, {"a": 1.5}, 1.0) is not None
    assert answers_differ([1], [1, 2]) is not None


def test_an_older_jax_is_told_to_be_too_old():
    check_jax("0.10", "0.12.1", "x")
    with pytest.raises(BadInput, match="needs jax 0.12"):
        check_jax("0.12", "0.10.2", "x")
