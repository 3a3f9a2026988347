"""Drift of recordings, boxes and continued texts: features are functions of the input, and a shift raises an alarm."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.data.audio.recordings import FULL, to_pcm
from jaxlm.data.text.chat import Chat, Preferences
from jaxlm.data.tokenizers.specs import ByteTokenizer
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.drift.features import features_of
from jaxlm.drift.reference import reference_of, reference_of_inputs
from jaxlm.drift.sound import FRAME, sound_features
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.predict.continuations import TokenizeChats, language_writer
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Predictor, Prepared, zeros
from jaxlm.predict.sound.speech import ReadSpeech, WriteHeard
from jaxlm.predict.sound.transcripts import ReadWindows
from jaxlm.predict.vision.boxes import ReadScenes, WriteBoxes
from jaxlm.serve.operate.watch import Watch
from jaxlm.verbs.deploy.export import reference_of_file
from small_models import text_model

RATE, WIDTHS, CANVAS = 8000, (800, 1600), (24, 32)


class Rows:
    """Batches of some rows, the last one filled up with padding whose mask is 0."""

    def __init__(self, rows, size):
        self.rows, self.size = rows, size

    def __len__(self):
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index):
        found = self.rows[index * self.size : (index + 1) * self.size]
        real = np.arange(self.size) < len(found)
        filled = found + [{name: np.zeros_like(x) for name, x in found[0].items()}] * (self.size - len(found))
        return {name: np.stack([row[name] for row in filled]) for name in found[0]} | {"mask": real.astype(np.float32)}


def watched(model, reference, inputs):
    """The verdict on each feature of what a service would be asked."""
    prepared = list(model.predictor.preprocess(inputs))
    watch = Watch(model.predictor.preprocess, reference)
    for start in range(0, len(inputs), 50):
        watch.see(prepared[start : start + 50], model(inputs[start : start + 50]))
        watch.report()
    found = {one.feature: one.verdict for one in watch.report()}
    watch.close()
    return found


def hears():
    """A model that writes a letter for each 200 samples that are not silent."""

    def apply(variables, batch):
        del variables
        loud_BT = jnp.abs(batch["audio"].astype(jnp.float32)).reshape(len(batch["audio"]), -1, 100).mean(-1) > 30
        spoken_BT = loud_BT & (jnp.arange(loud_BT.shape[1]) % 2 == 0)[None]
        logits = jax.nn.one_hot(jnp.where(spoken_BT, ord("a"), 256), 257) * 10
        return {"log_probs": jax.nn.log_softmax(logits), "outputs": batch["samples"] // 100}

    rows = [{"audio": np.zeros(width, np.int16), "samples": np.zeros((), np.int32)} for width in WIDTHS]
    write = WriteHeard(ByteTokenizer(), CTCSearch(), 256, 0.0125)
    return LoadedModel(Predictor(ReadSpeech(RATE, WIDTHS), apply, write, tuple(zeros(row, 8) for row in rows)), {})


def recordings(seed, count, decibel=-20.0):
    draw = np.random.default_rng(seed)
    sizes, levels = draw.integers(300, 1600, count), 10 ** ((decibel + draw.normal(0, 2, count)) / 20)
    return [np.clip(level * draw.normal(size=size), -1, 1) for size, level in zip(sizes, levels, strict=True)]


def speech_rows(sounds, width=1600):
    pcm = [to_pcm(sound.astype(np.float32)) for sound in sounds]
    padded = [(np.pad(one, (0, width - len(one))), np.asarray(len(one), np.int32)) for one in pcm]
    return [{"audio": audio, "samples": size, "targets": np.zeros(3, np.int32)} for audio, size in padded]


def finds():
    """A model that finds what is brighter than black, one box a picture; red is a dot."""

    def apply(variables, batch):
        del variables
        lit = batch["image"].max(-1) > 0
        across, down = lit.any(1), lit.any(2)
        starts = jnp.stack([across.argmax(1), down.argmax(1)], 1)
        ends = jnp.stack([lit.shape[2] - across[:, ::-1].argmax(1), lit.shape[1] - down[:, ::-1].argmax(1)], 1)
        boxes = jnp.concatenate([starts, ends], 1)[:, None].astype(jnp.float32)
        red = batch["image"][..., 0].max((1, 2)) > batch["image"][..., 2].max((1, 2))
        score = jnp.where(lit.any((1, 2)), batch["image"].max((1, 2, 3)) / 255, 0.0)[:, None]
        return {"boxes": boxes, "scores": score, "classes": red[:, None].astype(jnp.int32)}

    row = {"image": np.zeros((*CANVAS, 3), np.uint8), "extent": np.zeros(2, np.float32), "least": np.zeros((), "f")}
    return LoadedModel(Predictor(ReadScenes(CANVAS), apply, WriteBoxes(("cell", "dot")), (zeros(row, 8),)), {})


def pictures(seed, count, low=8, high=16, height=24):
    draw, found = np.random.default_rng(seed), []
    for _ in range(count):
        side, image = int(draw.integers(low, high)), np.zeros((height, 32, 3), np.uint8)
        left, top = draw.integers(0, 32 - side), draw.integers(0, height - side)
        image[top : top + side, left : left + side] = draw.integers(100, 255, 3)
        found.append(image)
    return found


def scene_rows(images):
    rows = []
    for image in images:
        canvas = np.zeros((*CANVAS, 3), np.uint8)
        canvas[: len(image)] = image
        rows.append({"image": canvas, "extent": np.array([32, len(image)], np.float32)})
    return rows


def chats(context=96):
    model = GPT(vocab=256, depth=1, width=16, heads=2, context=context)
    variables = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(2), np.zeros((1, 4), np.int32)))
    read = TokenizeChats(tokenizer=ByteTokenizer(), context=context, template="plain", length=8)
    return LoadedModel(language_writer(model, read, (0,)), variables)


def questions(seed, count, low=2, high=20):
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("abcdefgh "), draw.integers(low, high))).strip() + "?" for _ in range(count)]


def talks(folder, asked):
    """Conversations in a file, each with an answer."""
    path = folder / "talks.jsonl"
    lines = []
    for text in asked:
        messages = [{"role": "user", "content": text}]
        answer = {"role": "assistant", "content": "yes"}
        lines.append({"messages": [*messages, answer]})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(path)


def test_the_features_of_a_tone_are_those_of_its_formula():
    bin_ = 32  # of a frame, so that no power leaks
    tone = 0.5 * np.sin(2 * np.pi * bin_ * np.arange(4 * FRAME) / FRAME)
    found = sound_features(np.rint(tone * FULL).astype(np.int16), RATE)
    assert found["seconds"] == 4 * FRAME / RATE
    assert found["loudness"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1e-3)
    assert found["centroid"] == pytest.approx(bin_ * RATE / FRAME, rel=1e-4)
    assert found["clipped"] == 0
    clipped = np.clip(np.rint(4 * tone * FULL), -FULL, FULL - 1).astype(np.int16)
    assert sound_features(clipped, RATE)["clipped"] == pytest.approx(np.mean(np.abs(4 * tone) >= 1), abs=0.01)
    for silent in (np.zeros(0, np.int16), np.zeros(5, np.int16), np.full(1, 7, np.int16)):
        assert all(np.isfinite(list(sound_features(silent, RATE).values())))


def test_a_recording_has_its_features_whatever_its_padding_and_windows():
    (sound,) = recordings(0, 1)
    sound = np.tile(sound, 3)[:3100]
    whole, windows = ReadSpeech(RATE, (4000,)), ReadWindows(RATE, (1000,))
    found = []
    for read in (whole, ReadSpeech(RATE, (6400,)), windows):
        (one,) = read([sound])
        found.append(features_of(read, one.rows, None))
    assert found[0] == found[1] == found[2]
    assert found[0]["seconds"] == 3100 / RATE


@pytest.mark.parametrize("task", ["speech", "boxes"])
def test_a_reference_does_not_depend_on_batches_and_is_what_a_service_sees(task):
    given = recordings(0, 30) if task == "speech" else [*pictures(0, 20), *pictures(1, 10, height=17)]
    model, rows = (hears(), speech_rows(given)) if task == "speech" else (finds(), scene_rows(given))
    reference = reference_of(model, Rows(rows, 4))
    assert reference == reference_of(model, Rows(rows, 7)) == reference_of_inputs(model, given)
    assert {one.total for one in reference.values()} == {30}
    names = {"seconds", "loudness", "clipped", "centroid", "answer length"}
    boxes = {"image mean", "image contrast", "answer boxes", "answer class", "answer area", "answer score"}
    assert reference.keys() == (names if task == "speech" else boxes)


def test_quieter_recordings_raise_an_alarm_and_the_same_ones_none():
    model = hears()
    reference = reference_of(model, Rows(speech_rows(recordings(0, 300)), 8))
    assert set(watched(model, reference, recordings(1, 300)).values()) == {"same"}
    found = watched(model, reference, recordings(2, 300, decibel=-32))
    assert (found["loudness"], found["seconds"], found["centroid"]) == ("drift", "same", "same")


def test_smaller_boxes_raise_an_alarm_and_the_same_ones_none():
    model = finds()
    reference = reference_of(model, Rows(scene_rows(pictures(0, 300)), 8))
    assert set(watched(model, reference, pictures(1, 300)).values()) == {"same"}
    found = watched(model, reference, pictures(2, 300, low=4, high=8))
    assert (found["answer area"], found["answer class"], found["answer boxes"]) == ("drift", "same", "same")
    empty = [np.zeros((24, 32, 3), np.uint8)] * 150
    assert watched(model, reference, empty)["answer boxes"] == "drift"


def test_longer_prompts_raise_an_alarm_and_the_same_ones_none(tmp_path):
    model, path = chats(), talks(tmp_path, questions(0, 300))
    reference = reference_of(model, Chat(path=path, eval_path=path, template="plain", length=96, batch=8).eval())
    assert reference.keys() == {"token", "length", "answer length", "answer end"}
    assert reference["length"].total >= 100
    assert set(watched(model, reference, questions(1, 200)).values()) == {"same"}
    assert watched(model, reference, questions(2, 200, low=30, high=60))["length"] == "drift"


def test_prompts_are_those_that_a_service_reads(tmp_path):
    asked, model = questions(0, 40), chats()
    path = talks(tmp_path, asked)
    lengths = reference_of(model, Chat(path=path, eval_path=path, template="plain", length=96, pack=False).eval())
    expected = [
        features_of(model.predictor.preprocess, one.rows, None)["length"] for one in model.predictor.preprocess(asked)
    ]
    assert lengths["length"] == lengths["length"].of(expected)
    pairs = tmp_path / "pairs.jsonl"
    lines = [{"messages": [{"role": "user", "content": one}], "chosen": "yes", "rejected": "no"} for one in asked]
    pairs.write_text("\n".join(map(json.dumps, lines)))
    spec = Preferences(path=str(pairs), eval_path=str(pairs), template="plain", length=96)
    assert reference_of(model, spec.eval())["length"] == lengths["length"]


def test_texts_without_answers_are_no_prompts_and_rows_without_a_mask_are():
    model, draw = text_model(), np.random.default_rng(0)
    rows = [{"tokens": draw.integers(97, 120, 12).astype(np.int32)} for _ in range(20)]

    class Windows(Rows):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            return batch | {"mask": np.ones(batch["tokens"].shape, np.float32)}

    assert reference_of(model, Windows(rows, 5)).keys() == {"token"}
    found = reference_of(model, Rows(rows, 5))
    assert found.keys() == {"token", "length", "answer length", "answer end"}
    assert (found["length"].total, found["answer length"].total) == (20, 4)  # one answer in five


def test_a_continuation_counts_as_far_as_at_the_export():
    read = chats().predictor.preprocess

    def features(text, asked):
        (prepared,) = TokenizeChats(tokenizer=ByteTokenizer(), context=96, template="plain", length=asked)(["hi"])
        return features_of(read, prepared.rows, {"text": text})

    assert (features("abcd", 8)["answer length"], features("abcd", 8)["answer end"]) == (4.0, "stop")
    assert features("a" * 8, 8) == features("a" * 40, 40)
    assert features("a" * 40, 40)["answer end"] == "length"
    assert features("ab", 4).keys() == {"token", "length"}  # whether it would have gone on is not known


def test_prompts_of_a_file_are_compared_with_whole(tmp_path):
    model, path, asked = chats(), tmp_path / "prompts.txt", questions(0, 6)
    path.write_text("\n".join(asked) + "\n")
    found = reference_of_file(model, str(path))
    assert found == reference_of_inputs(model, asked)
    assert {one.total for one in found.values()} == {6}
    path.write_text("")
    with pytest.raises(BadInput, match="no inputs"):
        reference_of_file(model, str(path))


def test_what_cannot_be_read_breaks_nothing():
    model = hears()
    reference = reference_of(model, Rows(speech_rows(recordings(0, 100)), 8))
    watch = Watch(model.predictor.preprocess, reference)
    (good,), broken = model.predictor.preprocess(recordings(1, 1)), {"audio": None}
    answers = [{"text": "a"}, {"boxes": 3}, {}, BadInput("no sound"), {"text": None}, {"text": "a"}]
    watch.see([good, good, Prepared([broken]), BadInput("no sound"), Prepared([{}]), good], answers)
    assert {one.feature: one.values for one in watch.report()} == dict.fromkeys(reference, 2)
    watch.close()
    with pytest.raises(BadInput, match="input 1: not a recording"):
        reference_of_inputs(model, [*recordings(0, 1), np.zeros((2, 2))])
