"""The model that speaks and the vocoder: rows know neither padding nor each other, and durations sum to frames."""

import jax
import numpy as np
import pytest

from jaxlm.decode.flow import Speak
from jaxlm.errors import BadInput
from jaxlm.models.matcha import Matcha, log_likelihoods
from jaxlm.models.vocos import Vocos

BANDS, ROWS = 5, 3
MODEL = Matcha(vocab=7, speakers=2, bands=BANDS, width=8, hidden=12, depth=1, decoder_depth=2, kernel=3, dropout=0.0)
VOCODER = Vocos(bands=BANDS, fft=8, width=8, hidden=12, depth=2, kernel=3)
LENGTHS, FRAMES, VOICES = np.int32([4, 2, 3]), np.int32([9, 5, 3]), np.int32([0, 1, 1])


def moved(tree):
    """Parameters none of which is zero."""
    leaves, shape = jax.tree.flatten(tree)
    draw = np.random.default_rng(0)
    return jax.tree.unflatten(shape, [x + 0.2 * draw.normal(size=x.shape).astype(np.float32) for x in leaves])


def inputs(tokens=4, frames=9, fill=0):
    """Rows of text and sound with `fill` behind them."""
    draw = np.random.default_rng(1)
    text = draw.integers(0, 7, (ROWS, 4)).astype(np.int32)
    mel, noise = draw.normal(size=(2, ROWS, 9, BANDS)).astype(np.float32)
    text = np.where(np.arange(4) < LENGTHS[:, None], text, fill)
    mel = np.where((np.arange(9) < FRAMES[:, None])[..., None], mel, fill)
    text = np.pad(text, ((0, 0), (0, tokens - 4)), constant_values=fill)
    mel, noise = (np.pad(x, ((0, 0), (0, frames - 9), (0, 0)), constant_values=fill) for x in (mel, noise))
    return text, LENGTHS, VOICES, mel, FRAMES, noise, np.float32([0.1, 0.5, 0.9])


@pytest.fixture(scope="module")
def variables():
    return moved(jax.jit(MODEL.init)(jax.random.key(0), *inputs()))


def outputs_of(found, row):
    """What the outputs say of a row, without its padding."""
    text, frames = LENGTHS[row], FRAMES[row]
    own = [x[row, :frames] for x in (found.mean_BTM, found.velocity_BTM, found.target_BTM)]
    return [*own, found.log_durations_BL[row, :text], found.durations_BL[row, :text]]


def test_outputs_depend_on_the_row_alone(variables):
    apply = jax.jit(MODEL.apply)
    found, wider = apply(variables, *inputs()), apply(variables, *inputs(tokens=6, frames=12, fill=3))
    for row in range(ROWS):
        alone = apply(variables, *(x[row : row + 1] for x in inputs()))
        alone = jax.tree.map(lambda x: np.repeat(x, ROWS, 0), alone)
        for one, padded, expected in zip(*(outputs_of(x, row) for x in (alone, wider, found)), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(padded, expected, rtol=1e-4, atol=1e-5)


def test_durations_of_the_alignment_sum_to_the_frames(variables):
    found = MODEL.apply(variables, *inputs())
    np.testing.assert_array_equal(found.durations_BL.sum(1), FRAMES)
    assert all((found.durations_BL[row, : LENGTHS[row]] >= 1).all() for row in range(ROWS))
    assert all((found.durations_BL[row, LENGTHS[row] :] == 0).all() for row in range(ROWS))


def test_likelihoods_are_those_of_normal_distributions():
    mean, mel = np.random.default_rng(2).normal(size=(2, 1, 3, BANDS))
    expected = -0.5 * np.square(mean[:, :, None] - mel[:, None]).sum(-1)
    np.testing.assert_allclose(log_likelihoods(mean, mel), expected, rtol=1e-5, atol=1e-5)


def spoken(variables, rows, room, tokens=4, speed=1.0, steps=3):
    text, lengths, voices, *_ = inputs(tokens=tokens)
    noise = np.random.default_rng(3).normal(size=(ROWS, 200, BANDS)).astype(np.float32)[:, :room]
    speeds = np.full(ROWS, speed, np.float32)
    speak = jax.jit(lambda *x: Speak(steps=steps)(MODEL, variables, *x))
    return speak(text[rows], lengths[rows], voices[rows], noise[rows], speeds[rows])


def test_speech_depends_on_the_row_alone_and_lasts_its_durations(variables):
    whole = spoken(variables, slice(None), 60)
    wider = spoken(variables, slice(None), 80, tokens=6)
    np.testing.assert_array_equal(whole.frames_B, whole.durations_BL.sum(1))
    for row in range(ROWS):
        frames, alone = int(whole.frames_B[row]), spoken(variables, slice(row, row + 1), 60)
        assert LENGTHS[row] <= frames <= 60
        for one in (alone.mel_BTM[0], wider.mel_BTM[row]):
            np.testing.assert_allclose(one[:frames], whole.mel_BTM[row, :frames], rtol=1e-4, atol=1e-4)
        assert not np.asarray(whole.mel_BTM[row, frames:]).any()


def test_twice_the_speed_is_about_half_the_frames(variables):
    slow, fast = (spoken(variables, slice(None), 199, speed=speed).frames_B for speed in (0.1, 0.2))
    assert (np.abs(slow - 2 * fast) <= 2 * LENGTHS).all()


def test_the_path_leads_to_the_spectrogram_where_the_velocity_is_right(variables):
    """Of the straight path any number of Euler's steps makes no error."""
    mel = np.random.default_rng(4).normal(size=(ROWS, 60, BANDS)).astype(np.float32)

    class Right:
        @staticmethod
        def apply(given, *x, method):
            if method != "velocity":
                return MODEL.apply(given, *x, method=method)
            point, _, _, times, _ = x
            return (mel - point) / (1 - times[:, None, None])

    text, lengths, voices, *_ = inputs()
    noise = np.zeros((ROWS, 60, BANDS), np.float32)
    for steps in (1, 4):
        found = Speak(steps=steps)(Right, variables, text, lengths, voices, noise, np.ones(ROWS, np.float32))
        for row, frames in enumerate(np.asarray(found.frames_B)):
            np.testing.assert_allclose(found.mel_BTM[row, :frames], mel[row, :frames], rtol=1e-4, atol=1e-5)


def test_spectra_of_the_vocoder_depend_on_the_row_alone():
    mel = np.random.default_rng(5).normal(size=(ROWS, 9, BANDS)).astype(np.float32)
    variables = moved(VOCODER.init(jax.random.key(0), mel, FRAMES))
    apply = jax.jit(VOCODER.apply)
    found, padded = apply(variables, mel, FRAMES), np.pad(mel, ((0, 0), (0, 4), (0, 0)), constant_values=9.0)
    assert found.shape == (ROWS, 9, 5)
    wider = apply(variables, padded, FRAMES)
    for row, frames in enumerate(FRAMES):
        alone = apply(variables, mel[row : row + 1], FRAMES[row : row + 1])[0]
        for one in (wider[row], alone):
            np.testing.assert_allclose(one[:frames], found[row, :frames], rtol=1e-4, atol=1e-5)
        assert not np.asarray(found[row, frames:]).any()


@pytest.mark.parametrize(
    ("model", "field"), [(MODEL.clone(kernel=4), "kernel"), (MODEL.clone(width=9), "width")], ids=["kernel", "width"]
)
def test_fields_that_do_not_fit_are_refused(model, field):
    with pytest.raises(BadInput, match=rf"^model.{field} is \d: it must be \w+$"):
        model.validate()


@pytest.mark.parametrize(("field", "value"), [("kernel", 4), ("fft", 7)])
def test_a_vocoder_that_cannot_be_is_refused(field, value):
    with pytest.raises(BadInput, match=rf"^model.{field} is \d: it must be \w+$"):
        VOCODER.clone(**{field: value}).validate()


@pytest.mark.parametrize(
    "fields",
    [{"steps": 0}, {"speed": 0.0}, {"speed": 0.2}, {"speed": 4.5}, {"temperature": -1.0}, {"pause": float("nan")}],
)
def test_a_way_of_speaking_that_cannot_be_is_refused_in_one_line(fields):
    with pytest.raises(BadInput, match=r"^decode is [^\n]+$"):
        Speak(**fields)
