"""From prompts to rows and from pictures to answers, files and sheets."""

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxlm.data.images.sheet import picture_png, sheet_png, write_png
from jaxlm.data.tokenizers.plain import WordTokenizer
from jaxlm.decode.pictures import Paint
from jaxlm.errors import BadInput
from jaxlm.losses import FlowMatching
from jaxlm.models.bert import BERT
from jaxlm.models.dit import DiT
from jaxlm.predict.predictor import Predictor, answer_all, in_evaluation, zeros
from jaxlm.predict.vision.pictures import ReadGuidedPrompts, WritePicture, painted, picture_sheet, read_shape
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.serialise import from_json, to_json
from jaxlm.verbs.predict import Input, keep_files, table_lines

READ = ReadGuidedPrompts(tokenizer=WordTokenizer(("a", "red", "three"), lower=True), width=4, steps=2, guidance=1.5)
SHAPE = (4, 6, 1)
MODEL = DiT(encoder=BERT(vocab=5, depth=1, width=8, heads=1, context=4), patch=2, depth=1, width=8, heads=1)


@pytest.fixture(scope="module")
def painter():
    """A predictor of a model that has learned something, and its variables."""
    row = READ.row("", 0)
    image, time = np.zeros((1, *SHAPE), np.float32), np.zeros(1, np.float32)
    variables = jax.jit(MODEL.init)(jax.random.key(0), image, time, row["tokens"][None], row["segments"][None])
    draw = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: x + 0.3 * draw.normal(size=x.shape).astype(np.float32), variables)

    def paint(variables, batch, noise):
        how = batch["tokens"], batch["segments"], noise, batch["steps"], batch["guidance"]
        return Paint(method="euler")(MODEL, FlowMatching().at, variables, *how)

    function = in_evaluation(painted(paint, SHAPE))
    return Predictor(READ, function, WritePicture(), (zeros(row, 8),)), variables


def pictures(painter, texts, **how):
    predictor, variables = painter
    options = {name: how.pop(name) for name in ("seed", "guidance", "steps") if name in how}
    return [
        np.array(answer["pixels"]) for answer in answer_all(predictor.with_options(**options), variables, texts, **how)
    ]


def test_a_picture_depends_on_seed_text_and_number_and_not_on_what_is_beside_it(painter):
    whole = pictures(painter, ["a red three", "", "a red three", "three"])
    alone, repeated = pictures(painter, ["a red three"])[0], pictures(painter, ["a red three"] * 2, batch=1)
    assert np.abs(whole[0] - alone).max() <= 1  # of 255: programs of other sizes may round otherwise
    assert np.abs(whole[2] - repeated[1]).max() <= 1
    for first, second in ((0, 1), (0, 2), (0, 3), (1, 3)):
        assert np.abs(whole[first] - whole[second]).max() > 10
    assert np.abs(pictures(painter, ["a red three"], seed=1)[0] - alone).max() > 10


def test_guidance_and_steps_change_a_picture_with_a_text(painter):
    first = pictures(painter, ["red"])[0]
    assert np.abs(pictures(painter, ["red"], guidance=6.0)[0] - first).max() > 3
    assert np.abs(pictures(painter, ["red"], steps=9)[0] - first).max() > 3
    assert np.abs(pictures(painter, [""], guidance=6.0)[0] - pictures(painter, [""], guidance=1.5)[0]).max() <= 1


def test_an_answer_is_json_of_bytes(painter):
    (answer,) = json.loads(json.dumps(list(answer_all(*painter, ["a"]))))
    assert (answer["height"], answer["width"]) == SHAPE[:2]
    assert np.array(answer["pixels"]).shape == SHAPE
    assert 0 <= np.min(answer["pixels"]) <= np.max(answer["pixels"]) <= 255


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (3, "not a text: give what is to be seen"),
        ("a red three a red", "a text of 5 tokens, and captions have at most 4"),
        ("a green three", "no caption of the training has the word 'green'"),
    ],
)
def test_texts_that_cannot_be_are_answers_of_their_own(text, message):
    found = list(READ([text, "three"]))
    assert isinstance(found[0], BadInput)
    assert message in str(found[0])
    assert "\n" not in str(found[0])
    assert found[1].rows[0]["segments"].sum() == 1


@pytest.mark.parametrize("option", [{"steps": 0}, {"guidance": -1.0}, {"seed": -1}])
def test_options_that_cannot_be_are_one_line(painter, option):
    with pytest.raises(BadInput, match=r"^(steps|guidance|seed) is [^\n]+$"):
        painter[0].with_options(**option)


def test_both_halves_are_data():
    for half in (READ, WritePicture()):
        assert from_json(to_json(half)) == half


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_png_has_the_pixels():
    draw = np.random.default_rng(0)
    for channels in (1, 3):
        pixels = draw.integers(0, 256, (5, 7, channels), np.uint8)
        np.testing.assert_array_equal(opened(picture_png(pixels)).reshape(pixels.shape), pixels)


def test_a_sheet_has_all_pictures_below_their_titles(painter):
    grey = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * 20 * np.ones((1, 8, 8, 1), np.uint8)
    sheet = opened(sheet_png({"first": grey[:6], "": grey[6:]}, columns=4))
    assert sheet.shape == (4 + 20 + 3 * 100, 4 + 4 * 100, 3)
    shades = {tuple(pixel) for pixel in sheet[24::100, 10::100].reshape(-1, 3).tolist()}
    assert {(20 * n,) * 3 for n in range(10)} <= shades
    assert opened(picture_sheet(*painter, ["a", "red"], 3)).ndim == 3
    with pytest.raises(BadInput, match="'green'"):
        picture_sheet(*painter, ["a", "green"], 1)


def test_pictures_are_written_to_files_and_named(tmp_path):
    answer = {"pixels": np.full((2, 3, 1), 7).tolist(), "height": 2, "width": 3}
    found = keep_files(
        [(Input("A red / three!", "x"), answer), (Input("y", "y"), BadInput("z"))], str(tmp_path / "new")
    )
    path = tmp_path / "new" / "0001-three.png"
    assert found[0][1] == {"picture": str(path), "height": 2, "width": 3}
    assert (opened(path.read_bytes()) == 7).all()
    assert list(table_lines(found, None)) == [f"A red / three!  {path}  3 x 2"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"^[^\n]+ cannot be written \([^\n]+\): name another place[^\n]+$"):
        write_png(tmp_path / "file" / "x.png", b"")


@pytest.mark.parametrize("text", ["{}", '{"shape": [1, 2]}', '{"shape": [0, 2, 1]}', "[", '{"shape": ["a", 2, 1]}'])
def test_a_damaged_shape_is_one_line(tmp_path, text):
    (tmp_path / "pictures.json").write_text(text)
    with pytest.raises(BadInput, match=r"pictures\.json[^\n]*$"):
        read_shape(RunDirectory(tmp_path))
