"""The loss of a model that speaks, by hand; its noise; and the distance of spectra, against NumPy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm import parallel, steps
from jaxlm.data.audio.spectrogram import Stft
from jaxlm.errors import BadInput
from jaxlm.losses import Spectral, TextToMel, spectral
from jaxlm.losses.text_to_mel import path_noise
from jaxlm.models.matcha import FlowOutputs, Matcha
from jaxlm.steps import compute, merge

ROWS, TOKENS, FRAMES, BANDS = 4, 3, 8, 5
DRAW = np.random.default_rng(0)
BATCH = {
    "tokens": DRAW.integers(0, 6, (ROWS, TOKENS)).astype(np.int32),
    "token_lengths": np.int32([3, 2, 3, 1]),
    "speaker": np.int32([0, 1, 0, 1]),
    "frames": np.int32([8, 5, 2, 4]),  # the third has fewer frames than tokens
    "mel": DRAW.normal(size=(ROWS, FRAMES, BANDS)).astype(np.float32),
    "keys": DRAW.integers(0, 2**32, (ROWS, 2), np.uint32),
    "mask": np.float32([1, 2, 1, 0]),
}
MODEL = Matcha(vocab=6, speakers=2, bands=BANDS, width=8, hidden=8, depth=1, decoder_depth=1, kernel=3, dropout=0.0)


def test_the_loss_is_that_of_a_computation_by_hand():
    given = FlowOutputs(
        *DRAW.normal(size=(3, ROWS, FRAMES, BANDS)).astype(np.float32),
        DRAW.normal(size=(ROWS, TOKENS)).astype(np.float32),
        np.int32([[3, 3, 2], [4, 1, 0], [1, 1, 0], [4, 0, 0]]),
    )
    model = SimpleNamespace(apply=lambda *_, **__: given)
    found, _ = TextToMel(prior=0.5, duration=2.0)(model)({}, {}, BATCH, jax.random.key(0), train=True)
    flow, prior, duration, frames, tokens = 0.0, 0.0, 0.0, 0, 0
    for row, weight in ((0, 1), (1, 2)):
        for t in range(BATCH["frames"][row]):
            flow += weight * np.square(given.velocity_BTM[row, t] - given.target_BTM[row, t]).mean()
            off = np.square(given.mean_BTM[row, t] - BATCH["mel"][row, t])
            prior += weight * 0.5 * (off + np.log(2 * np.pi)).mean()
            frames += weight
        for place in range(BATCH["token_lengths"][row]):
            log = np.log(given.durations_BL[row, place])
            duration += weight * (given.log_durations_BL[row, place] - log) ** 2
            tokens += weight
    expected = {
        "loss": (flow + 0.5 * prior + 2 * duration) / frames,
        "flow": flow / frames,
        "prior": prior / frames,
        "duration": duration / tokens,
        "impossible": 0.25,
    }
    found = compute(found)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_sums_of_parts_of_a_batch_are_those_of_the_whole():
    data = [BATCH[name] for name in ("tokens", "token_lengths", "speaker", "mel", "frames", "mel")]
    params = jax.jit(MODEL.init)(jax.random.key(0), *data, np.zeros(ROWS, np.float32))["params"]
    loss = jax.jit(lambda batch: TextToMel()(MODEL)(params, {}, batch, jax.random.key(1), train=False)[0])
    whole, parts = loss(BATCH), [loss({k: x[i : i + 1] for k, x in BATCH.items()}) for i in range(ROWS)]
    for name, value in compute(merge(*parts)).items():
        assert value == pytest.approx(compute(whole)[name], rel=1e-4), name


def after_a_step(place):
    """Parameters and metrics after one update on the devices of a placement."""
    tx = optax.sgd(0.1)
    example = [BATCH[name][:1] for name in ("tokens", "token_lengths", "speaker", "mel", "frames", "mel")]
    inputs = (*example, np.zeros(1, np.float32))
    state = place.init(lambda key: steps.init(MODEL, tx, inputs, key), jax.random.key(2))
    step = place.compile(steps.update(place.reduce(steps.grad(TextToMel()(MODEL))), tx))
    state, metrics = step(state, place.put(BATCH))
    return place.fetch(state).params, compute(jax.device_get(metrics))


@pytest.mark.parametrize("place", [parallel.pmap(), parallel.mesh(2, 2)], ids=["pmap", "mesh"])
def test_an_update_on_several_devices_is_that_of_one(place):
    params, metrics = after_a_step(place)
    expected, expected_metrics = after_a_step(parallel.local())
    assert metrics == pytest.approx(expected_metrics, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params, expected)


def test_the_noise_of_a_frame_does_not_depend_on_the_padding():
    noise, times = path_noise(BATCH["keys"], 6, BANDS)
    longer, same = path_noise(BATCH["keys"], 9, BANDS)
    np.testing.assert_array_equal(noise, longer[:, :6])
    np.testing.assert_array_equal(times, same)
    assert len(np.unique(np.asarray(longer))) == longer.size


def test_noise_is_normal_and_times_are_uniform():
    keys = np.random.default_rng(1).integers(0, 2**32, (500, 2), np.uint32)
    noise, times = path_noise(keys, 8, BANDS)
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
    assert abs(float(times.mean()) - 0.5) < 0.05


@pytest.mark.parametrize("name", ["prior", "duration"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_weight_that_cannot_be_is_refused(name, value):
    with pytest.raises(BadInput, match=f"^loss.{name} is {value}: it must be a finite number of at least 0$"):
        TextToMel(**{name: value})(MODEL)


RESOLUTIONS = (Stft(16, 4), Stft(32, 8))
SAMPLES = np.int32([64, 40, 64])


def sounds():
    return np.random.default_rng(2).normal(size=(2, 3, 64)).astype(np.float32)


def distance(made, real, samples=SAMPLES, mask=(1.0, 2.0, 0.0)):
    batch = {"audio": real, "samples": samples, "mask": np.float32(mask)}
    loss = spectral(lambda variables, batch: variables["params"], RESOLUTIONS)
    return loss(made, {}, batch, jax.random.key(0), train=True)[0]


def test_the_distance_of_spectra_is_numpys():
    made, real = sounds()
    total = 0.0
    for row, weight in ((0, 1), (1, 2)):
        values = []
        for transform in RESOLUTIONS:
            sizes = []
            for sound in (made, real):
                half = transform.window // 2
                padded = np.pad(sound[row, : SAMPLES[row]], half)
                starts = range(0, len(padded) - transform.window + 1, transform.hop)
                curve = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(transform.window) / transform.window)
                frames = np.stack([padded[at : at + transform.window] * curve for at in starts])
                sizes.append(np.maximum(np.abs(np.fft.rfft(frames)), 1e-5))
            off = np.linalg.norm(sizes[0] - sizes[1]) / np.linalg.norm(sizes[1])
            values.append(off + np.abs(np.log(sizes[0]) - np.log(sizes[1])).mean())
        total += weight * np.mean(values)
    assert compute(distance(made, real))["loss"] == pytest.approx(total / 3, rel=1e-4)


def test_a_recording_is_no_distance_from_itself_and_padding_is_none():
    made, real = sounds()
    assert compute(distance(real, real))["loss"] == pytest.approx(0, abs=1e-4)
    behind = np.arange(64) >= SAMPLES[:, None]
    found = compute(distance(np.where(behind, 9.0, made), np.where(behind, -5.0, real)))
    assert found == pytest.approx(compute(distance(made, real)), rel=1e-5)
    wider = [np.pad(x, ((0, 0), (0, 32))) for x in (made, real)]
    assert compute(distance(*wider)) == pytest.approx(compute(distance(made, real)), rel=1e-5)


def test_silence_has_a_finite_gradient():
    def loss(made, real):
        return distance(made, real)["loss"].total

    for real in (jnp.zeros((3, 64)), sounds()[1]):
        assert np.isfinite(jax.grad(loss)(jnp.zeros((3, 64)), real)).all()


def test_a_vocoder_needs_a_resolution():
    with pytest.raises(BadInput, match=r"^loss.resolutions is empty: [^\n]+$"):
        Spectral(resolutions=())
