"""What is heard in an utterance depends neither on its padding nor on its batch, with either encoder."""

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.models.conformer import Conformer
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.nn.speech import SpeechFrontEnd, TimeConv

BANDS = 8
ENCODERS = {"lstm": BiLSTM(depth=2, width=8), "conformer": Conformer(depth=2, width=8, heads=2, kernel=5)}
LENGTHS = [37, 21, 4, 1, 30]


def model(kind):
    return SpeechToTokens(vocab=5, encoder=ENCODERS[kind], bands=BANDS, channels=3)


def ragged(padding=0, fill=0.0, rows=slice(None)):
    """Features of utterances of several lengths, with any values on padding."""
    draw, longest = np.random.default_rng(0), max(LENGTHS)
    values = draw.normal(size=(len(LENGTHS), longest, BANDS)).astype(np.float32)
    values = np.pad(values, ((0, 0), (0, padding), (0, 0)))
    frames = np.array(LENGTHS, np.int32)
    inside = np.arange(values.shape[1]) < frames[:, None]
    return np.where(inside[..., None], values, np.float32(fill))[rows], frames[rows]


@pytest.fixture(scope="module", params=ENCODERS)
def heard(request):
    """A function from features and frames to logits."""
    made = model(request.param)
    variables = jax.jit(made.init)(jax.random.key(0), *ragged())
    return jax.jit(lambda features, frames: made.apply(variables, features, frames))


def own(logits, frames):
    return [row[: SpeechToTokens.outputs(int(count))] for row, count in zip(np.asarray(logits), frames, strict=True)]


def test_padding_does_not_change_what_is_heard(heard):
    features, frames = ragged()
    expected = own(heard(features, frames), frames)
    assert [len(row) for row in expected] == [10, 6, 1, 1, 8]
    features, _ = ragged(padding=14, fill=9.0)
    for row, wanted in zip(own(heard(features, frames), frames), expected, strict=True):
        np.testing.assert_allclose(row, wanted, rtol=1e-4, atol=1e-5)


def test_other_rows_do_not_change_what_is_heard(heard):
    features, frames = ragged()
    whole = heard(features, frames)
    for row in (1, 3):
        alone = heard(*ragged(rows=slice(row, row + 1)))
        count = SpeechToTokens.outputs(LENGTHS[row])
        np.testing.assert_allclose(alone[0, :count], whole[row, :count], rtol=1e-4, atol=1e-5)


def test_a_row_without_a_frame_is_finite(heard):
    features, frames = ragged()
    assert np.isfinite(heard(features * 0, frames * 0)).all()


def test_the_front_end_is_two_strided_convolutions_of_the_utterance_alone():
    layer, (features, frames) = SpeechFrontEnd(channels=3, width=4), ragged()
    variables = layer.init(jax.random.key(0), features, frames)
    out, lengths = layer.apply(variables, features, frames)
    params = jax.tree.map(np.asarray, variables["params"])
    assert lengths.tolist() == [10, 6, 1, 1, 8]

    def strided(x, conv):  # [F, M, C] by a loop
        kernel, bias = conv["kernel"], conv["bias"]
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        size = [(n - 3) // 2 + 1 for n in x.shape[:2]]
        y = np.zeros((*size, kernel.shape[-1]))
        for i in range(size[0]):
            for j in range(size[1]):
                y[i, j] = np.einsum("hwi,hwio->o", x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3], kernel) + bias
        return np.maximum(y, 0)

    for row, count in enumerate(LENGTHS):
        x = features[row, :count, :, None].astype(np.float64)
        x = strided(strided(x, params["conv_0"]), params["conv_1"])
        x = x.reshape(len(x), -1) @ params["map"]["kernel"] + params["map"]["bias"]
        np.testing.assert_allclose(out[row, : len(x)], x, rtol=1e-4, atol=1e-5)


def test_the_convolution_over_time_is_each_channels_own():
    layer, x = TimeConv(kernel=5), np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["kernel"])
    found = layer.apply(variables, x)
    for row in range(2):
        for channel in range(3):
            wanted = np.convolve(x[row, :, channel], kernel[::-1, channel], mode="same")
            np.testing.assert_allclose(found[row, :, channel], wanted, rtol=1e-4, atol=1e-5)


def test_a_rate_of_dropout_changes_training_alone():
    made, (features, frames) = model("conformer"), ragged()
    variables = jax.jit(made.init)(jax.random.key(0), features, frames)

    def apply(made, train):
        return np.asarray(made.apply(variables, features, frames, train=train, rngs={"dropout": jax.random.key(1)}))

    assert not np.allclose(apply(made, True), apply(made, False))


@pytest.mark.parametrize("fields", [{"kernel": 4}, {"width": 6, "heads": 2}, {"width": 9, "heads": 1}])
def test_a_conformer_that_cannot_be_is_refused(fields):
    with pytest.raises(BadInput, match="model.(kernel|width) is"):
        SpeechToTokens(vocab=5, encoder=ENCODERS["conformer"].clone(**fields)).validate()
